package event

// Kinds is what a process's memory was for, by its mappings: resident bytes, in
// which a page that several processes map counts in parts (PSS).
type Kinds struct {
	Heap        uint64 `json:"heap_bytes"`
	Stack       uint64 `json:"stack_bytes"`
	Libraries   uint64 `json:"libraries_bytes"` // files with code: the executable and shared objects
	MappedFiles uint64 `json:"mapped_files_bytes"`
	Anonymous   uint64 `json:"anonymous_bytes"` // without a name: allocators' mappings, threads' stacks
	Shared      uint64 `json:"shared_memory_bytes"`
	Other       uint64 `json:"other_bytes"`
	Swap        uint64 `json:"swap_pss_bytes"`
	// ReadNS is when it was read, as an offset from the event's time.
	ReadNS int64  `json:"read_ns"`
	Source string `json:"source"`
}
