package main

import (
	"context"
	"encoding/json"
	"image/color"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// The page of latency in a browser: nothing of it is a script, plots have what
// they plot, and there is something to see, by day and by night.
func TestLatencyInBrowser(t *testing.T) {
	chromium := browser(t)
	for _, input := range []string{shopCapture, hostileCapture} {
		t.Run(filepath.Base(input), func(t *testing.T) {
			report := func(form string) string {
				e, out, errs := fakeEnv()
				if code := run(context.Background(), []string{"latency", "-o", form, input}, e); code != exitDone {
					t.Fatal(errs.String())
				}
				return out.String()
			}
			dir := t.TempDir()
			file := filepath.Join(dir, "page.html")
			write := func(html string) string {
				if err := os.WriteFile(file, []byte(html), 0o600); err != nil {
					t.Fatal(err)
				}
				return "file://" + file
			}
			html := report("html")
			open := regexp.MustCompile(`<meta http-equiv="Content-Security-Policy"[^>]*>`).ReplaceAllString(html, "")
			if open == html {
				t.Fatal("the page has no content security policy")
			}
			dom := chromium("--dump-dom", write(open))
			if !strings.Contains(dom, "</main>") || strings.Contains(dom, "<script") || regexp.MustCompile(`<[^<>"]*\son[a-z]+=`).MatchString(dom) {
				t.Errorf("the page did not load, or something of it is a script: %.300q", dom)
			}
			var facts struct {
				Containers []struct {
					Count uint64
					Kinds []struct {
						DurationNS []event.Bucket `json:"duration_ns"`
					}
					Cache struct {
						After []event.Bucket `json:"refault_after_ns"`
					}
					Heat struct{ Counts [][]uint64 }
				}
			}
			if err := json.Unmarshal([]byte(report("json")), &facts); err != nil {
				t.Fatal(err)
			}
			bars, cells := 0, 0
			count := func(buckets []event.Bucket) {
				for _, b := range buckets {
					if b.Count > 0 {
						bars++
					}
				}
			}
			for _, c := range facts.Containers {
				for _, k := range c.Kinds {
					count(k.DurationNS)
				}
				count(c.Cache.After)
				for _, column := range c.Heat.Counts {
					for _, n := range column {
						if n > 0 {
							cells++
						}
					}
				}
			}
			if got := strings.Count(dom, `<rect x=`); got != bars || bars == 0 {
				t.Errorf("%d bars in the page, %d buckets", got, bars)
			}
			if got := strings.Count(dom, `<rect class="h h`); got != cells || cells == 0 {
				t.Errorf("%d cells in the page, %d in the heat map", got, cells)
			}
			if input != shopCapture {
				return
			}
			url := write(html)
			light := screenshot(t, chromium, url, dir)
			dark := screenshot(t, chromium, url, dir, "--blink-settings=preferredColorScheme=0")
			if paper := luma(light, 3, 3); paper < 200 {
				t.Errorf("by day the paper is dark (%d)", paper)
			}
			if paper := luma(dark, 3, 3); paper > 60 {
				t.Errorf("by night the paper is bright (%d)", paper)
			}
			if n := pixels(light, color.RGBA{0x44, 0x67, 0xb8, 255}); n < 500 {
				t.Errorf("bars by day: %d pixels", n)
			}
			if n := pixels(dark, color.RGBA{0x6d, 0x8f, 0xe0, 255}); n < 500 {
				t.Errorf("bars by night: %d pixels", n)
			}
		})
	}
}
