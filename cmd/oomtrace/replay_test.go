package main

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oomtrace/oomtrace/tracer/capture"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// A replay at some speed holds events back until their ends are due, and can be
// interrupted meanwhile.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		began := time.Now()
		at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		p := pace{speed: 10}
		for _, c := range []struct {
			kind           string
			time, duration time.Duration
			due            time.Duration
		}{
			{event.TypeHeader, -time.Hour, 0, 0},
			{event.TypeReclaim, 0, time.Second, 0},
			{event.TypeReclaim, 500 * time.Millisecond, 10*time.Second + 500*time.Millisecond, time.Second},
			{event.TypeReclaim, 5 * time.Second, 0, time.Second}, // it is over already
			{event.TypeReclaim, 31 * time.Second, 0, 3 * time.Second},
		} {
			r := &capture.Record{Type: c.kind, Time: at.Add(c.time), Duration: c.duration}
			if !p.wait(ctx, r) || time.Since(began) != c.due {
				t.Errorf("%s at %v for %v came after %v, want %v", c.kind, c.time, c.duration, time.Since(began), c.due)
			}
		}
		time.AfterFunc(time.Minute, cancel)
		if p.wait(ctx, &capture.Record{Type: event.TypeReclaim, Time: at.Add(24 * time.Hour)}) || time.Since(began) != 3*time.Second+time.Minute {
			t.Errorf("not interrupted after %v", time.Since(began))
		}
		// Slower than a Duration can tell is not as fast as can be.
		ctx, cancel = context.WithCancel(t.Context())
		began, p = time.Now(), pace{speed: 1e-300}
		time.AfterFunc(time.Hour, cancel)
		first, second := &capture.Record{Type: event.TypeReclaim, Time: at}, &capture.Record{Type: event.TypeReclaim, Time: at.Add(time.Second)}
		if !p.wait(ctx, first) || p.wait(ctx, second) || time.Since(began) != time.Hour {
			t.Errorf("at %v: %v", p.speed, time.Since(began))
		}
	})
}

type refusing struct{ bytes.Buffer }

func (r *refusing) Write([]byte) (int, error) { return 0, errors.New("refused") }

// What is gathered goes out soon, and an error of that is not forgotten.
func TestSlack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := newSlack(&out)
		for range 2 {
			if _, err := s.Write([]byte("x")); err != nil || out.Len() > 0 {
				t.Errorf("%q, %v", out.String(), err)
			}
			time.Sleep(slackTime + time.Millisecond)
			synctest.Wait()
			if out.String() != "x" {
				t.Errorf("%q after %v", out.String(), slackTime)
			}
			out.Reset()
		}
		_, _ = s.Write([]byte("y"))
		if err := s.close(); err != nil || out.String() != "y" {
			t.Errorf("%q, %v", out.String(), err)
		}
		bad := newSlack(new(refusing))
		_, _ = bad.Write([]byte("x"))
		time.Sleep(slackTime + time.Millisecond)
		synctest.Wait()
		if err := bad.close(); err == nil {
			t.Error("the error is forgotten")
		}
	})
}
