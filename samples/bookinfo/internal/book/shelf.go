package book

// Products returns the whole catalogue, ordered by id. The caller owns it.
func Products() []Product {
	return []Product{{
		ID:     0,
		Title:  "The Comedy of Errors",
		Author: "William Shakespeare",
		Summary: "Two pairs of twins, parted in a shipwreck as infants, wander through the same town on the same day " +
			"without knowing it. Wives scold the wrong husbands, servants are beaten for other men’s errands, a gold " +
			"chain finds its way to the wrong neck, and everybody is sure that somebody else has lost their wits. " +
			"It is the shortest of the plays and one of the earliest: a farce about what happens when messages " +
			"reach the wrong address.",
	}}
}

// FindProduct returns the product with this id.
func FindProduct(id int) (Product, bool) {
	for _, p := range Products() {
		if p.ID == id {
			return p, true
		}
	}
	return Product{}, false
}

// FindDetails returns the facts of a book, told by origin.
func FindDetails(id int, by Origin) (Details, bool) {
	p, ok := FindProduct(id)
	if !ok {
		return Details{}, false
	}
	return Details{
		ID:        p.ID,
		Author:    p.Author,
		Year:      1595,
		Type:      "paperback",
		Pages:     96,
		Publisher: "Two Hulls Press",
		Language:  "English",
		ISBN10:    "0-00-000000-0",
		ISBN13:    "978-0-00-000000-2",
		Origin:    by,
	}, true
}

// FindRatings returns the stars of a book, told by origin.
func FindRatings(id int, by Origin) (Ratings, bool) {
	if _, ok := FindProduct(id); !ok {
		return Ratings{}, false
	}
	return Ratings{ID: id, Ratings: map[string]int{"Reviewer1": 5, "Reviewer2": 4}, Origin: by}, true
}

// FindReviews returns the reviews of a book, told by origin and without stars.
func FindReviews(id int, by Origin) (Reviews, bool) {
	if _, ok := FindProduct(id); !ok {
		return Reviews{}, false
	}
	return Reviews{
		ID: id,
		Reviews: []Review{
			{
				Reviewer: "Reviewer1",
				Name:     "Mirela Anders",
				Text: "I laughed out loud on a full train. Nobody in this town ever asks the one question that would " +
					"clear everything up, and for five acts I was grateful to each of them for it.",
			},
			{
				Reviewer: "Reviewer2",
				Name:     "Tobias Okafor",
				Text: "Quick, silly and kinder than it first looks: under all the mistaken doors and missing money " +
					"is a family looking for itself. Keep a pencil at hand to remember which twin is on stage.",
			},
		},
		Origin: by,
	}, true
}
