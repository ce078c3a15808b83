package tracer

// InspectOptions say how far Inspect goes.
type InspectOptions struct {
	// Processes and Children are how many of the largest are listed; 0 means all.
	// The sums are of all.
	Processes, Children int
	// NoSmaps leaves out what takes processes' mmap locks: only RSS is told then.
	NoSmaps bool
}
