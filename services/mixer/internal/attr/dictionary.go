package attr

import (
	_ "embed"
	"strings"
	"sync"
)

// words is the global word list of Istio 0.3, in order: line n has index n-1. It may
// only ever grow at the end; its length is its version. Three words carry quotes, which
// belong to them. Source: the attribute dictionary of Istio's API.
//
//go:embed words.txt
var words string

// mapKeyWords is the length of the list from which on clients understand map_key.
const mapKeyWords = 167

type dictionary struct {
	list  []string
	index map[string]int32
}

// global is the word list as a table, made when first needed.
var global = sync.OnceValue(func() dictionary {
	d := dictionary{list: strings.Split(strings.TrimSuffix(words, "\n"), "\n"), index: map[string]int32{}}
	for i, w := range d.list {
		d.index[w] = int32(i)
	}
	return d
})
