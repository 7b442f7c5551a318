package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// folderLimit is for a changed file to be taken.
const folderLimit = 10 * time.Second

// put writes a file of a watched folder as editors do: beside, then in place.
func put(t *testing.T, path, text string) {
	t.Helper()
	beside := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	check(t, os.WriteFile(beside, []byte(text), 0o644))
	check(t, os.Chmod(beside, 0o644))
	check(t, os.Rename(beside, path))
}

func (s *site) testFolder(t *testing.T) {
	folder := watchedFolder(s.Dir)
	all, reviews := filepath.Join(folder, "all-v1.yaml"), filepath.Join(folder, "jason.yaml")
	t.Cleanup(func() {
		check(t, errors.Join(remove(all), remove(reviews)))
		eventually(t, folderLimit, func(ctx context.Context) error { return s.fromFiles(ctx, 0) })
	})
	put(t, all, string(must(os.ReadFile(s.sample("route-rule-all-v1")))(t)))
	put(t, reviews, string(must(os.ReadFile(s.sample("route-rule-reviews-test-v2")))(t)))
	eventually(t, folderLimit, func(ctx context.Context) error {
		return errors.Join(s.fromFiles(ctx, 5), s.showsStars(ctx, "", "v1", inRow), s.showsStars(ctx, "jason", "v2", inRow))
	})
	// What a file keeps is changed in the file.
	result := s.outrigger(t, "apply", "-f", s.sample("route-rule-reviews-test-v2"))
	if changed := s.outrigger(t, "delete", "RouteRule", "reviews-test-v2"); changed.Code == 0 {
		t.Errorf("an object of a file was deleted from beside: %s, %s", result, changed)
	}
	// A broken file keeps its last good content, and is named; other files go on.
	put(t, reviews, strings.Replace(testRule("reviews-test-v2"), "precedence", "presidence", 1))
	put(t, all, strings.Replace(string(must(os.ReadFile(s.sample("route-rule-all-v1")))(t)),
		"name: reviews-default\n", "name: reviews-other\n", 1))
	eventually(t, folderLimit, func(ctx context.Context) error {
		st, err := s.status(ctx)
		if err != nil {
			return err
		}
		if len(st.Files) != 1 || filepath.Base(st.Files[0].File) != "jason.yaml" {
			return fmt.Errorf("pilot's status should name jason.yaml: %+v", st.Files)
		}
		if _, found := s.objects(t)["RouteRule/default/reviews-other"]; !found {
			return errors.New("the other file was not taken")
		}
		return nil
	})
	s.expect(t, 0, []string{"jason.yaml", "presidence"}, "status")
	check(t, s.showsStars(t.Context(), "jason", "v2", inRow))
	check(t, s.showsStars(t.Context(), "", "v1", inRow))
	// What goes from the folder goes from the mesh.
	check(t, remove(reviews))
	eventually(t, folderLimit, func(ctx context.Context) error {
		return errors.Join(s.fromFiles(ctx, 4), s.showsStars(ctx, "jason", "v1", inRow))
	})
}

// fromFiles is nil when as many objects come from files.
func (s *site) fromFiles(ctx context.Context, want int) error {
	var list struct {
		Objects []object `json:"objects"`
	}
	if err := s.Read(ctx, "pilot", "/v1/objects", &list); err != nil {
		return err
	}
	var found []string
	for _, o := range list.Objects {
		if strings.HasPrefix(o.Metadata.Origin, "file:"+s.Dir) {
			found = append(found, o.key())
		}
	}
	if len(found) != want {
		return fmt.Errorf("%d objects of files, want %d: %v", len(found), want, found)
	}
	return nil
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
