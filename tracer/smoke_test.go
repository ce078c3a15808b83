package tracer

import (
	"context"
	"fmt"
	ojson "github.com/oomtrace/oomtrace/output/json"
	"github.com/oomtrace/oomtrace/tracer/event"
	"os"
	"testing"
	"time"
)

func TestSmoke(t *testing.T) {
	t0 := time.Now()
	tr, err := Open(Options{Families: Families(), Stacks: os.Getenv("ST") != ""})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("open", time.Since(t0))
	w := ojson.New(os.Stdout)
	ctx, c := context.WithTimeout(context.Background(), 6*time.Second)
	defer c()
	if err := tr.Run(ctx, func(e event.Event) error { return w.Write(e) }); err != nil {
		t.Fatal(err)
	}
	tr.Close()
}
