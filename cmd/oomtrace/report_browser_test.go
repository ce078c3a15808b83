package main

import (
	"bytes"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// browser runs headless Chromium, which needs no network for these pages.
func browser(t *testing.T) func(args ...string) string {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("OOMTRACE_TEST_ALL") != "" {
			t.Fatal("chromium is not installed: make deps")
		}
		t.Skip("chromium is not installed")
	}
	return func(args ...string) string {
		t.Helper()
		home := t.TempDir()
		cmd := exec.Command(path, append([]string{
			"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
			"--disable-component-update", "--disable-sync", "--hide-scrollbars", "--user-data-dir=" + home,
		}, args...)...)
		cmd.Env = append(os.Environ(), "HOME="+home)
		// Its helpers may hold on to the pipes.
		cmd.WaitDelay = 5 * time.Second
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		began := time.AfterFunc(90*time.Second, func() { _ = cmd.Process.Kill() })
		defer began.Stop()
		if err := cmd.Run(); err != nil && stdout.Len() == 0 {
			t.Fatalf("chromium: %v\n%s", err, stderr.String())
		}
		return stdout.String()
	}
}

// canary is a script that leaves a trace in the document.
const canary = `<script>document.documentElement.dataset.ran = "yes"</script>`

// The page as a browser understands it: names from outside stay text, plots have
// what they plot, and there is something to see, by day and by night.
func TestReportInBrowser(t *testing.T) {
	chromium := browser(t)
	dir := t.TempDir()
	page := func(name, html string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(html), 0o600); err != nil {
			t.Fatal(err)
		}
		return "file://" + file
	}
	policy := regexp.MustCompile(`<meta http-equiv="Content-Security-Policy"[^>]*>`)
	for _, input := range []string{shopCapture, hostileCapture} {
		t.Run(filepath.Base(input), func(t *testing.T) {
			code, html, stderr := reported(t, nil, "-o", "html", input)
			_, facts, _ := reported(t, nil, "-o", "json", input)
			if code != exitDone {
				t.Fatal(stderr)
			}
			// Without the policy a script that got in would run.
			open := policy.ReplaceAllString(html, "")
			if open == html {
				t.Fatal("the page has no content security policy")
			}
			if input == shopCapture {
				// That scripts do run here shows that a page without one has none.
				open = strings.Replace(open, "</main>", canary+"</main>", 1)
			}
			dom := chromium("--dump-dom", page("open.html", open))
			if input == shopCapture {
				if !strings.Contains(dom, `data-ran="yes"`) {
					t.Error("scripts do not run here at all: this test would not see one")
				}
				dom = strings.Replace(strings.Replace(dom, canary, "", 1), ` data-ran="yes"`, "", 1)
			}
			if strings.Contains(dom, "<script") || strings.Contains(dom, "data-ran") || regexp.MustCompile(`<[^<>"]*\son[a-z]+=`).MatchString(dom) {
				t.Error("something of the page is a script")
			}
			if !strings.Contains(dom, "</footer>") {
				t.Errorf("the page did not load: %.200q", dom)
			}
			checkPlots(t, dom, facts)

			if input != shopCapture {
				return
			}
			withCanary := strings.Replace(html, "</main>", canary+"</main>", 1)
			if dom := chromium("--dump-dom", page("policy.html", withCanary)); strings.Contains(dom, "data-ran") {
				t.Error("the page's policy lets a script run")
			}

			url := page("page.html", html)
			light := screenshot(t, chromium, url, dir)
			dark := screenshot(t, chromium, url, dir, "--blink-settings=preferredColorScheme=0")
			if paper := luma(light, 3, 3); paper < 200 {
				t.Errorf("by day the paper is dark (%d)", paper)
			}
			if paper := luma(dark, 3, 3); paper > 60 {
				t.Errorf("by night the paper is bright (%d)", paper)
			}
			// The areas of the plot, in the colours of the style sheet.
			for _, c := range []struct {
				name string
				img  image.Image
				rgb  color.RGBA
			}{
				{"anonymous memory", light, color.RGBA{0x44, 0x67, 0xb8, 255}}, {"file cache", light, color.RGBA{0x85, 0xbf, 0xb1, 255}},
				{"anonymous memory by night", dark, color.RGBA{0x6d, 0x8f, 0xe0, 255}},
			} {
				if n := pixels(c.img, c.rgb); n < 5000 {
					t.Errorf("%s: %d pixels", c.name, n)
				}
			}
		})
	}
}

// checkPlots counts in the document what the facts say should be there.
func checkPlots(t *testing.T, dom, facts string) {
	t.Helper()
	var s struct {
		Kill struct {
			Candidates []any
			Domain     struct{ Memory map[string]any }
		}
		Memory []struct{ Role string }
		Stalls struct{ Cells []any }
		Log    []any `json:"kernel_log"`
	}
	if err := json.Unmarshal([]byte(facts), &s); err != nil {
		t.Fatal(err)
	}
	count := func(pattern string) int { return len(regexp.MustCompile(pattern).FindAllString(dom, -1)) }
	if got := count(`<rect class="cell"`); got != len(s.Stalls.Cells) {
		t.Errorf("%d cells of stalls, want %d", got, len(s.Stalls.Cells))
	}
	if got, want := count(`<svg class="plot memory"`), min(len(s.Memory), 1); got != want {
		t.Errorf("%d plots of memory, want %d", got, want)
	}
	if got := count(`<svg class="spark"`); got != len(s.Memory) {
		t.Errorf("%d small plots, want %d", got, len(s.Memory))
	}
	if got := count(`<svg class="heldbar"`); got != min(len(s.Kill.Domain.Memory), 1) {
		t.Errorf("%d bars of what was held", got)
	}
	if got, want := count(`<span class="pill">killed</span>`), 1; len(s.Kill.Candidates) > 0 && got != want {
		t.Errorf("%d candidates are marked as killed", got)
	}
	// Every plot says in words what it shows.
	if plots, titles, descs := count(`<svg class="plot`), count(`<title id=`), count(`<desc id=`); titles != plots || descs != plots {
		t.Errorf("%d plots with %d titles and %d descriptions", plots, titles, descs)
	}
}

func screenshot(t *testing.T, chromium func(...string) string, url, dir string, args ...string) image.Image {
	t.Helper()
	file := filepath.Join(dir, "shot.png")
	_ = os.Remove(file)
	chromium(append(args, "--window-size=1000,2400", "--screenshot="+file, url)...)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func luma(img image.Image, x, y int) uint8 {
	return color.GrayModel.Convert(img.At(x, y)).(color.Gray).Y
}

func pixels(img image.Image, want color.RGBA) (n int) {
	b := img.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			if color.RGBAModel.Convert(img.At(x, y)) == want {
				n++
			}
		}
	}
	return n
}
