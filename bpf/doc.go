// Package bpf holds oomtrace's eBPF programs: C sources, the objects compiled
// from them for amd64 and arm64, and the generated Go that loads those. It has
// no logic of its own; package tracer/hook decides what is attached.
//
// The objects are committed, so building needs no clang. `make generate`
// rebuilds them and is reproducible with the pinned compiler.
package bpf

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -type rec_head -type rec_task -type rec_mm -type rec_counters -type rec_lru -type rec_evicted -type rec_reclaim -type rec_throttle -type rec_pressure -type rec_pause -type rec_oom_mark -type rec_oom_candidate -type rec_oom_killed -type rec_oom_done -type rec_oom_exit -type rec_cgroup -type rec_file -type rec_image -type tally -type cache_counts -type file_key -type file_counts -type evict_key -type evict_counts -type run -type history_second -type history -type sample_key -type sample -type rec_type -type reclaim_kind -type certainty -type family -type oom_flags -type unkillable -type stall_kind -type stall_key -type stall_counts -type refault_key -type refault_counts -type eviction_clock -type cgroup_change -type cause -type fault -type wait_state -no-global-types Core core.bpf.c -- -O2 -Wall -Werror -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -no-global-types Oom oom.bpf.c -- -O2 -Wall -Werror -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -no-global-types Pause pause.bpf.c -- -O2 -Wall -Werror -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -no-global-types Reclaim reclaim.bpf.c -- -O2 -Wall -Werror -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -no-global-types Stall stall.bpf.c -- -O2 -Wall -Werror -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -no-global-types Throttle throttle.bpf.c -- -O2 -Wall -Werror -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -no-global-types Cache cache.bpf.c -- -O2 -Wall -Werror -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -no-global-types Lifecycle lifecycle.bpf.c -- -O2 -Wall -Werror -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -no-global-types Profile profile.bpf.c -- -O2 -Wall -Werror -I/usr/include/x86_64-linux-gnu
