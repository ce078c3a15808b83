module github.com/oomtrace/oomtrace/tracer/testdata/cri

go 1.25

require (
	google.golang.org/grpc v1.64.1
	k8s.io/cri-api v0.26.15
)

require (
	github.com/gogo/protobuf v1.3.2 // indirect
	golang.org/x/net v0.26.0 // indirect
	golang.org/x/sys v0.21.0 // indirect
	golang.org/x/text v0.16.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20240318140521-94a12d6c2237 // indirect
	google.golang.org/protobuf v1.33.0 // indirect
)
