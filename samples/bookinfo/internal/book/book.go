// Package book holds what the sample application knows about books, and the JSON documents in which its services tell
// each other. It is values only: no service, clock or network.
package book

import (
	"fmt"
	"strconv"
)

// Origin says which process answered. Every document carries one, so that a caller can see where routing led it.
type Origin struct {
	Version string `json:"version"`
	Pod     string `json:"podname"`
}

// Product is one entry of the catalogue.
type Product struct {
	ID      int    `json:"id"`
	Title   string `json:"title"`
	Author  string `json:"author"`
	Summary string `json:"description"`
}

// Details are the facts printed in a book's front matter.
type Details struct {
	ID        int    `json:"id"`
	Author    string `json:"author"`
	Year      int    `json:"year"`
	Type      string `json:"type"`
	Pages     int    `json:"pages"`
	Publisher string `json:"publisher"`
	Language  string `json:"language"`
	ISBN10    string `json:"ISBN-10"`
	ISBN13    string `json:"ISBN-13"`
	Origin
}

// Ratings are the stars, 1 to 5, that each reviewer gave to a book, by reviewer key.
type Ratings struct {
	ID      int            `json:"id"`
	Ratings map[string]int `json:"ratings"`
	Origin
}

// Reviews are the reviews of one book. RatingsFrom is nil if ratings was not asked or did not answer.
type Reviews struct {
	ID          int      `json:"id"`
	Reviews     []Review `json:"reviews"`
	RatingsFrom *Origin  `json:"ratingsFrom,omitempty"`
	Origin
}

// Review is one reader's opinion. Reviewer is the key used in Ratings, Name is for people. Rating is nil in versions
// that know no stars.
type Review struct {
	Reviewer string  `json:"reviewer"`
	Name     string  `json:"name"`
	Text     string  `json:"text"`
	Rating   *Rating `json:"rating,omitempty"`
}

// Rating is either Stars in a Color, or the Error that says why there are none.
type Rating struct {
	Stars int    `json:"stars,omitempty"`
	Color string `json:"color,omitempty"`
	Error string `json:"error,omitempty"`
}

// What the services say, to people and programs alike, when a service behind them does not answer.
const (
	DetailsUnavailable = "Sorry, product details are currently unavailable for this book."
	ReviewsUnavailable = "Sorry, product reviews are currently unavailable for this book."
	RatingsUnavailable = "Sorry, product ratings are currently unavailable for this book."
	NoRatings          = "Ratings service is currently unavailable"
)

// ParseID reads the number of a book as it stands in a URL: decimal, not negative.
func ParseID(s string) (int, error) {
	id, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("product id %.40q: want a whole number", s)
	}
	return int(id), nil
}
