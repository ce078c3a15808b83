// Command cri runs one container in one pod through a Kubernetes container
// runtime, as a kubelet would, waits for it to end and removes both. It is for
// tests: a module of its own, so that gRPC is none of oomtrace's dependencies.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "cri:", err)
		os.Exit(1)
	}
}

func run() error {
	socket := flag.String("socket", "", "of the runtime")
	namespace := flag.String("namespace", "default", "of the pod")
	pod := flag.String("pod", "", "name of the pod")
	uid := flag.String("uid", "", "of the pod")
	parent := flag.String("parent", "", "cgroup of the pod, which exists")
	name := flag.String("name", "", "of the container")
	image := flag.String("image", "", "of the container, which the runtime has")
	limit := flag.Int64("limit", 0, "memory limit of the container, bytes; 0 is none")
	logs := flag.String("logs", "", "directory for logs")
	flag.Parse()

	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	conn, err := grpc.DialContext(ctx, "unix://"+*socket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithBlock())
	if err != nil {
		return err
	}
	defer conn.Close()
	client := cri.NewRuntimeServiceClient(conn)

	labels := map[string]string{
		"io.kubernetes.pod.name": *pod, "io.kubernetes.pod.namespace": *namespace, "io.kubernetes.pod.uid": *uid,
	}
	sandbox := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: *pod, Namespace: *namespace, Uid: *uid},
		LogDirectory: *logs,
		Labels:       labels,
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent: *parent,
			SecurityContext: &cri.LinuxSandboxSecurityContext{ // the host's network needs no plugins
				NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE},
			},
		},
	}
	s, err := client.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: sandbox})
	if err != nil {
		return fmt.Errorf("run sandbox: %w", err)
	}
	defer client.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: s.PodSandboxId})
	defer client.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: s.PodSandboxId})

	containerLabels := map[string]string{"io.kubernetes.container.name": *name}
	for k, v := range labels {
		containerLabels[k] = v
	}
	c, err := client.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId: s.PodSandboxId, SandboxConfig: sandbox,
		Config: &cri.ContainerConfig{
			Metadata: &cri.ContainerMetadata{Name: *name},
			Image:    &cri.ImageSpec{Image: *image},
			Command:  flag.Args(),
			Labels:   containerLabels,
			LogPath:  *name + ".log",
			Linux: &cri.LinuxContainerConfig{
				Resources: &cri.LinuxContainerResources{MemoryLimitInBytes: *limit},
				SecurityContext: &cri.LinuxContainerSecurityContext{
					NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE},
				},
			},
		},
	})
	if err != nil {
		return fmt.Errorf("create container: %w", err)
	}
	if _, err := client.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: c.ContainerId}); err != nil {
		return fmt.Errorf("start container: %w", err)
	}
	for {
		status, err := client.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: c.ContainerId})
		if err != nil {
			return fmt.Errorf("status: %w", err)
		}
		if status.Status.State == cri.ContainerState_CONTAINER_EXITED {
			fmt.Println(s.PodSandboxId, c.ContainerId, status.Status.ExitCode, status.Status.Reason)
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
}
