package span

type recent struct{}

func (r *recent) init() {}

func (r *recent) wants(s *Span, o *Outcome) bool { return false }

func (r *recent) put(s *Span, o *Outcome, reason string, below []*Span) {}
