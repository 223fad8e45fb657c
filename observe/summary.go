package observe

import "strings"

const (
	// maxSummary is what the semantic conventions allow for db.query.summary.
	maxSummary = 255
	// maxTables of one statement are named; a generated query may join without number.
	maxTables = 8
)

// summarize returns the summary of a statement, by the semantic conventions for
// db.query.summary: its verbs and the tables behind them in the order of the
// text, "INSERT orders SELECT items". Collection is the table where there is
// just one. Only words in the place of a table are taken: no literal, no
// parameter and no column gets in.
// https://opentelemetry.io/docs/specs/semconv/database/database-spans/#generating-a-summary-of-the-query
func summarize(query string) (verb, collection, summary string) {
	verb = operation(query)
	s := summarizer{rest: query[:min(len(query), maxScan)]}
	s.b.WriteString(verb)
	s.read(verb)
	if len(s.tables) == 1 {
		collection = s.tables[0]
	}
	return verb, collection, s.b.String()
}

// A summarizer reads a statement word by word.
type summarizer struct {
	rest   string
	b      strings.Builder
	tables []string // named so far
	ctes   []string // names that WITH gives to queries: no tables
}

// Words that stand in the place of a table without being one.
var noTables = map[string]bool{
	"SELECT": true, "ONLY": true, "LATERAL": true, "UNNEST": true, "VALUES": true, "IF": true, "NOT": true, "EXISTS": true, "TABLE": true, "SET": true,
	"WHERE": true, "STDIN": true, "STDOUT": true, "IGNORE": true, "LOW_PRIORITY": true, "QUICK": true, "INTO": true, "OF": true, "NOWAIT": true, "SKIP": true,
}

// read goes through the words. A FROM names tables only where a SELECT or
// DELETE stands at its depth of parentheses: not in EXTRACT(DAY FROM created)
// and not in IS DISTINCT FROM.
func (s *summarizer) read(verb string) {
	const (
		none  = iota
		maybe // the next word is a table
		list  // behind a table: a comma brings the next
	)
	var from, among [32]bool // by depth: SELECT or DELETE stands there; its parenthesis stands among tables
	depth, place, first, last := 0, none, true, ""
	for s.rest != "" {
		word, kind := s.next()
		switch kind {
		case '(':
			depth++
			if depth < len(from) {
				from[depth], among[depth] = false, place != none
			}
			place = none
			last = "("
			continue
		case ')':
			if place = none; depth < len(from) && among[depth] {
				place = list // FROM (SELECT ...) x, items
			}
			depth = max(depth-1, 0)
			last = ")"
			continue
		case ',':
			if place == list && depth < len(from) && from[depth] {
				place = maybe
			}
			last = ","
			continue
		case ';':
			depth, place, last, first = 0, none, "", true
			from[0] = false
			continue
		case 'w', 'q':
		default:
			place, last = none, ""
			continue
		}
		upper := ""
		if kind == 'w' {
			upper = strings.ToUpper(word[:min(len(word), 16)])
		}
		if place == maybe {
			if kind == 'q' || !noTables[upper] {
				if s.table(word, kind == 'q') {
					place, last, first = list, "", false
					continue
				}
				place = none
			} else if upper != "SELECT" && upper != "SET" && upper != "WHERE" && upper != "VALUES" {
				last, first = upper, false
				continue // FROM ONLY items, CREATE TABLE IF NOT EXISTS items
			}
		}
		switch upper {
		case "SELECT":
			if depth < len(from) {
				from[depth] = true
			}
			place = none
			if !first {
				s.word("SELECT")
			}
		case "DELETE":
			if first || last == "(" || last == ")" {
				from[min(depth, len(from)-1)] = true
				if !first {
					s.word("DELETE")
				}
			}
		case "UPDATE":
			if first || last == "(" || last == ")" { // not FOR UPDATE, DO UPDATE, KEY UPDATE
				place = maybe
				if !first {
					s.word("UPDATE")
				}
			}
		case "INSERT", "MERGE":
			if !first && (last == "(" || last == ")") {
				s.word(upper)
			}
		case "REPLACE", "TRUNCATE", "COPY", "LOCK", "ANALYZE", "VACUUM", "DESCRIBE":
			if first {
				place = maybe
			}
		case "INTO", "TABLE", "VIEW":
			place = maybe
		case "JOIN":
			place = maybe
		case "USING":
			place = none
			if verb == "MERGE" || verb == "DELETE" {
				place = maybe
			}
		case "FROM":
			if place = none; last != "DISTINCT" && (from[min(depth, len(from)-1)] || verb == "UPDATE" && depth == 0) {
				place = maybe
			}
		case "WITH", "RECURSIVE":
			if kind == 'w' {
				s.cte()
			}
		case "WHERE", "SET", "ON", "GROUP", "ORDER", "HAVING", "LIMIT", "RETURNING", "VALUES", "UNION", "EXCEPT", "INTERSECT", "WINDOW", "FETCH", "OFFSET", "FOR":
			place = none
		}
		if upper == "WITH" && first {
			last = "("
		} else {
			last = upper
		}
		first = false
	}
}

// cte notes the names in "WITH a AS (...), b AS (...)", wherever they stand.
func (s *summarizer) cte() {
	saved := s.rest
	if word, kind := s.next(); (kind == 'w' || kind == 'q') && !strings.EqualFold(word, "RECURSIVE") {
		s.ctes = append(s.ctes, word)
	}
	s.rest = saved
	// The further ones: a name before AS and an opening parenthesis.
	for rest := s.rest; len(s.ctes) < maxTables; {
		i := indexFold(rest, " as (")
		if i < 0 {
			if i = indexFold(rest, " as("); i < 0 {
				return
			}
		}
		begin := i
		for begin > 0 && isWordByte(rest[begin-1]) {
			begin--
		}
		if begin < i {
			s.ctes = append(s.ctes, rest[begin:i])
		}
		rest = rest[i+4:]
	}
}

func indexFold(s, lower string) int {
	for i := 0; i+len(lower) <= len(s); i++ {
		if strings.EqualFold(s[i:i+len(lower)], lower) {
			return i
		}
	}
	return -1
}

// table adds a table; it reports whether name is one.
func (s *summarizer) table(name string, quoted bool) bool {
	if name == "" || strings.ContainsAny(name, "'?") {
		return false
	}
	for _, c := range s.ctes {
		if strings.EqualFold(c, name) {
			return true
		}
	}
	if s.word(name) && len(s.tables) < maxTables {
		for _, t := range s.tables {
			if t == name {
				return true
			}
		}
		s.tables = append(s.tables, name)
	}
	return true
}

// word adds one to the summary where it fits.
func (s *summarizer) word(w string) bool {
	if s.b.Len()+1+len(w) > maxSummary || len(s.tables) >= maxTables {
		return false
	}
	s.b.WriteByte(' ')
	s.b.WriteString(w)
	return true
}

// next returns the next word: kind 'w', or 'q' when it is quoted, with its
// schema and without its quotes; else the character that stands there. Quoted
// text that is no plain name, as a string would be, is the character '.
func (s *summarizer) next() (word string, kind byte) {
	t := s.rest
	i := 0
	for i < len(t) && (t[i] == ' ' || t[i] == '\t' || t[i] == '\n' || t[i] == '\r') {
		i++
	}
	if i == len(t) {
		s.rest = ""
		return "", 0
	}
	c := t[i]
	switch {
	case strings.HasPrefix(t[i:], "--") || c == '#':
		end, _ := lineComment(t, i)
		s.rest = t[end:]
		return s.next()
	case strings.HasPrefix(t[i:], "/*"):
		end, _ := blockComment(t, i)
		s.rest = t[end:]
		return s.next()
	case c == '\'':
		end, clear := quoted(t, i)
		if !clear {
			end = len(t)
		}
		s.rest = t[end:]
		return "", '\''
	case c == '$':
		end, clear := dollar(t, i)
		if !clear {
			end = len(t)
		}
		s.rest = t[end:]
		return "", '\''
	case c >= '0' && c <= '9':
		s.rest = t[number(t, i):]
		return "", '\''
	}
	name, end, quotes := identifierAt(t, i)
	if end > i {
		s.rest = t[end:]
		if quotes {
			return name, 'q'
		}
		return name, 'w'
	}
	s.rest = t[max(end, i+1):]
	if c == '"' || c == '`' || c == '[' {
		if end, clear := quoted(t, i); c == '"' && clear {
			s.rest = t[end:]
		} else if c == '"' {
			s.rest = ""
		}
		return "", '\''
	}
	return "", c
}

// identifierAt returns the name that begins at i, parts joined by dots, and the
// index behind it; end is i where there is none.
func identifierAt(t string, i int) (name string, end int, quotes bool) {
	for end = i; ; {
		part, next := "", end
		switch {
		case end < len(t) && (t[end] == '"' || t[end] == '`' || t[end] == '['):
			closing := t[end]
			if closing == '[' {
				closing = ']'
			}
			n := strings.IndexByte(t[end+1:], closing)
			if n < 0 || !plainName(t[end+1:end+1+n]) {
				return name, i, false
			}
			part, next, quotes = t[end+1:end+1+n], end+n+2, true
		default:
			for next < len(t) && (isWordByte(t[next]) || t[next] == '$' && next > end) {
				next++
			}
			part = t[end:next]
		}
		if part == "" {
			return name, i, false
		}
		if name != "" {
			name += "."
		}
		name, end = name+part, next
		if end+1 >= len(t) || t[end] != '.' {
			return name, end, quotes
		}
		end++
	}
}

// plainName tells a quoted name from a quoted string, which some servers write alike.
func plainName(s string) bool {
	for i := range len(s) {
		if !isWordByte(s[i]) && s[i] != '$' && s[i] != '-' {
			return false
		}
	}
	return s != "" && len(s) <= 63 // what PostgreSQL and MySQL (64) keep of a name
}
