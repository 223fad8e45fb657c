package leakcheck

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestPathGroupStarsWhatDiffers(t *testing.T) {
	for path, want := range map[string]string{
		"/tmp/upload-3912874/part":                     "/tmp/upload-*",
		"/var/log/2026/11/21/shop.log":                 "/var/log/*/*/*",
		"/data/6f1c2b7a-90de-4a6c-8f00-0123456789ab/x": "/data/*",
		"/data/deadbeefcafe/x":                         "/data/*",
		"/srv/decade1/x":                               "/srv/decade*",
		"/etc/passwd":                                  "/etc",
		"/passwd":                                      "/",
		"":                                             "/",
		"/a/\x00\n/b":                                  "/a/\x00\n",
		"/" + strings.Repeat("f", 4000) + "/" + strings.Repeat("z", 9): "/*",
	} {
		if got := pathGroup(path); got != want {
			t.Errorf("%.60q: %q, want %q", path, got, want)
		}
	}
}

func TestFileKind(t *testing.T) {
	for target, want := range map[string]struct {
		kind  string
		inode uint64
	}{
		"/tmp/a":                  {"file", 0},
		"/tmp/a (deleted)":        {"file", 0},
		"/memfd:x (deleted)":      {"memfd", 0},
		"socket:[1234]":           {"socket", 1234},
		"pipe:[99]":               {"pipe", 99},
		"anon_inode:[eventpoll]":  {"eventpoll", 0},
		"anon_inode:inotify":      {"inotify", 0},
		"anon_inode:[io_uring]":   {"io_uring", 0},
		"pidfd:[7]":               {"pidfd", 7},
		"net:[4026531840]":        {"net", 4026531840},
		"":                        {"other", 0},
		"no colon":                {"other", 0},
		"a\nb:[1]":                {"other", 0},
		":[1]":                    {"other", 0},
		"socket:[18446744073709]": {"socket", 18446744073709},
		"socket:[x]":              {"socket", 0},
	} {
		if kind, inode := fileKind(target); kind != want.kind || inode != want.inode {
			t.Errorf("%q: %s %d, want %s %d", target, kind, inode, want.kind, want.inode)
		}
	}
}

func TestReadOpenFilesSeesWhatIsOpen(t *testing.T) {
	if runtime.GOOS != "linux" {
		if err := readOpenFiles(func(int, []byte) {}); err == nil {
			t.Error("no error where nothing can be read")
		}
		return
	}
	path := filepath.Join(t.TempDir(), "a file")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := func() (found string) {
		err := readOpenFiles(func(n int, target []byte) {
			if n == int(f.Fd()) {
				found = string(target)
			}
		})
		if err != nil {
			t.Error(err)
		}
		return found
	}
	if got := seen(); got != path {
		t.Errorf("%q, want %q", got, path)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got := seen(); got != path+deletedSuffix {
		t.Errorf("after the removal: %q", got)
	}
}

func FuzzOpenFile(f *testing.F) {
	for _, s := range []string{"/tmp/upload-1/a (deleted)", "socket:[1]", "anon_inode:[eventpoll]", "/memfd:", ":", "/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		if kind, _ := fileKind(target); kind == "" || len(kind) > 32 || strings.ContainsAny(kind, "\n :[]") {
			t.Errorf("%q: kind %q", target, kind)
		}
		if g := pathGroup(target); g == "" || len(g) > max(len(target), 1) || pathGroup(g+"/x") != g && g != "/" {
			t.Errorf("%q: group %q, and of that %q", target, g, pathGroup(g+"/x"))
		}
	})
}
