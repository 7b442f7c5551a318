package productpage

import (
	"net/http"
	"strings"

	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/answer"
	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/forward"
)

// login believes anybody: who signs in matters to the mesh's rules, not to security. Any form field but username is
// ignored.
func login(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		answer.Error(w, http.StatusBadRequest, "the form cannot be read")
		return
	}
	name := strings.TrimSpace(r.PostForm.Get("username"))
	if !forward.ValidUser(name) {
		answer.Error(w, http.StatusBadRequest, "username: want 1 to 64 printable characters")
		return
	}
	setUser(w, forward.CookieValue(name), 0)
	redirect(w, r, http.StatusSeeOther)
}

func logout(w http.ResponseWriter, r *http.Request) {
	setUser(w, "", -1)
	redirect(w, r, http.StatusSeeOther)
}

// setUser sets the cookie for the browser's session; a negative age clears it. It is not Secure because the sample is
// also reached by plain HTTP, and it protects nothing.
func setUser(w http.ResponseWriter, value string, age int) {
	http.SetCookie(w, &http.Cookie{
		Name:     forward.UserCookie,
		Value:    value,
		Path:     "/",
		MaxAge:   age,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	})
}

func redirect(w http.ResponseWriter, r *http.Request, status int) {
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, "/productpage", status)
}
