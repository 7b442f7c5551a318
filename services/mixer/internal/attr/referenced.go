package attr

import (
	istiomixerv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/istio/mixer/v1"
)

// EncodeReferenced writes references for a client whose global_word_count is count.
// Global indexes stay below it; what it does not know goes into words. A client of a
// time before map_key is told of whole maps.
func EncodeReferenced(refs []Reference, count uint32) *istiomixerv1.ReferencedAttributes {
	e := encoder{limit: int32(min(int(count), len(global().list))), local: map[string]int32{}}
	if count == 0 {
		e.limit = int32(len(global().list))
	}
	out := &istiomixerv1.ReferencedAttributes{}
	whole := map[string]bool{}
	for _, r := range refs {
		keyed := r.Keyed && e.limit >= mapKeyWords
		if !keyed {
			if whole[r.Name] {
				continue
			}
			whole[r.Name] = true
		}
		m := &istiomixerv1.ReferencedAttributes_AttributeMatch{
			Name: e.word(r.Name, true), Condition: istiomixerv1.ReferencedAttributes_EXACT,
		}
		if !r.Present && (keyed || !r.Keyed) {
			m.Condition = istiomixerv1.ReferencedAttributes_ABSENCE
		}
		if keyed {
			// Index 0 means "no key", so a key that is word 0 goes by the message's words.
			m.MapKey = e.word(r.Key, false)
		}
		out.AttributeMatches = append(out.AttributeMatches, m)
	}
	out.Words = e.words
	return out
}

type encoder struct {
	limit int32
	words []string
	local map[string]int32
}

func (e *encoder) word(w string, zero bool) int32 {
	if i, ok := global().index[w]; ok && i < e.limit && (i > 0 || zero) {
		return i
	}
	if i, ok := e.local[w]; ok {
		return i
	}
	i := -int32(len(e.words)) - 1
	e.words = append(e.words, w)
	e.local[w] = i
	return i
}
