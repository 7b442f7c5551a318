package book

import "testing"

func TestParseID(t *testing.T) {
	for in, want := range map[string]int{"0": 0, "7": 7, "2147483647": 2147483647} {
		if got, err := ParseID(in); err != nil || got != want {
			t.Errorf("ParseID(%q) = %d, %v, want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "-1", "+1", "1.0", "0x1", "abc", "2147483648", "٣"} {
		if got, err := ParseID(in); err == nil {
			t.Errorf("ParseID(%q) = %d, want an error", in, got)
		}
	}
}

func TestEveryProductIsKnownEverywhere(t *testing.T) {
	by := Origin{Version: "v1", Pod: "p"}
	for _, p := range Products() {
		details, okD := FindDetails(p.ID, by)
		ratings, okR := FindRatings(p.ID, by)
		reviews, okV := FindReviews(p.ID, by)
		if !okD || !okR || !okV {
			t.Fatalf("product %d: details %v, ratings %v, reviews %v, want all", p.ID, okD, okR, okV)
		}
		if details.Author != p.Author || details.ID != p.ID || ratings.ID != p.ID || reviews.ID != p.ID {
			t.Errorf("product %d: the services disagree about it", p.ID)
		}
		if details.Origin != by || ratings.Origin != by || reviews.Origin != by {
			t.Errorf("product %d: an answer does not say who gave it", p.ID)
		}
		for _, r := range reviews.Reviews {
			if stars := ratings.Ratings[r.Reviewer]; stars < 1 || stars > 5 {
				t.Errorf("product %d: %s gave %d stars, want 1 to 5", p.ID, r.Reviewer, stars)
			}
		}
	}
}

func TestUnknownProduct(t *testing.T) {
	_, okP := FindProduct(99)
	_, okD := FindDetails(99, Origin{})
	_, okR := FindRatings(99, Origin{})
	_, okV := FindReviews(99, Origin{})
	if okP || okD || okR || okV {
		t.Errorf("product 99 found: %v %v %v %v", okP, okD, okR, okV)
	}
}

func TestFindReviewsSharesNothing(t *testing.T) {
	first, _ := FindReviews(0, Origin{})
	first.Reviews[0].Rating = &Rating{Stars: 1}
	if second, _ := FindReviews(0, Origin{}); second.Reviews[0].Rating != nil {
		t.Error("a change to one answer shows in the next")
	}
}
