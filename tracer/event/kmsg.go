package event

// Kmsg is a line of the kernel's log that belongs to the report of an OOM kill.
// Time is the log's own, by the kernel's scheduler clock: it can differ from
// that of other events by milliseconds.
type Kmsg struct {
	Meta
	Level    string `json:"level"` // emerg, alert, crit, err, warning, notice, info or debug
	Text     string `json:"text"`
	Sequence uint64 `json:"sequence"` // of the record in the kernel's log
	// Incident is that of the kill which the report is about.
	Incident string `json:"incident,omitempty"`
}
