package event

// Frame is one frame of a user stack.
type Frame struct {
	// Function is its name, demangled where it is C++ or Rust. It is the one that
	// the compiler made code for: what was inlined goes by its caller's name.
	Function string `json:"function,omitempty"`
	// Module is the file that the code comes from, as the process itself calls it,
	// or a name in brackets ([vdso]); absent for code that is in no file.
	Module string `json:"module,omitempty"`
	// Offset of the instruction within the file of the module, in bytes; in code
	// that is in no file it is the address. In callers it is one less than where
	// the call returns to, so that it lies within the call.
	Offset uint64 `json:"offset,omitempty"`
	// BuildID is the module's GNU build id, in hexadecimal.
	BuildID string `json:"build_id,omitempty"`
}

// Kinds of page faults.
const (
	FaultMinor = "minor" // served from memory
	FaultMajor = "major" // waited for I/O
)

// Profile counts the sampled page faults of one thread name, process and pair
// of stacks over one interval. Time is the interval's begin. Kernel 5.10.
type Profile struct {
	Meta
	IntervalNS int64      `json:"interval_ns"`
	Process    Process    `json:"process"`
	Cgroup     *Cgroup    `json:"cgroup,omitempty"`
	Container  *Container `json:"container,omitempty"`
	Fault      string     `json:"fault"`                // minor, major
	Samples    uint64     `json:"samples"`              // faults that were looked at
	Period     uint64     `json:"period"`               // of so many faults on a CPU one was looked at
	Bytes      uint64     `json:"estimated_bytes"`      // samples × period × page size
	Stack      []string   `json:"stack,omitempty"`      // kernel functions+offset, innermost first; faults of the kernel's own
	UserStack  []Frame    `json:"user_stack,omitempty"` // innermost first
}
