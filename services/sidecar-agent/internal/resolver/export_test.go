package resolver

import "time"

// SetIdle sets how long a TCP connection lives without a query. To be called before Run.
func (s *Server) SetIdle(d time.Duration) { s.idle = d }
