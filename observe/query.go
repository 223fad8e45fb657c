package observe

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// verbs are the values of db_operation_name; any other statement is OTHER.
var verbs = [...]string{
	"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "WITH", "VALUES", "CALL", "EXEC", "EXECUTE", "COPY",
	"BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "SET", "SHOW", "EXPLAIN", "ANALYZE", "VACUUM",
	"CREATE", "ALTER", "DROP", "TRUNCATE", "GRANT", "REVOKE", "LOCK", "LISTEN", "NOTIFY", "PRAGMA", "USE",
	"PREPARE", "DEALLOCATE", "DECLARE", "FETCH", "CLOSE", "DO", "END", "ABORT", "REFRESH", "REINDEX", "DESCRIBE", "LOAD", "UPSERT",
}

// maxScan is how much of a statement is looked at. A request waits for it, and
// a text may be a megabyte of values, or of brackets that a client chose.
const maxScan = 4 << 10

// operation returns the verb of a statement, behind comments and parentheses.
// It does not allocate.
func operation(query string) string {
	query = query[:min(len(query), maxScan)]
	for {
		query = strings.TrimLeft(query, " \t\r\n\f\v(;\ufeff")
		switch {
		case strings.HasPrefix(query, "--"), strings.HasPrefix(query, "#"):
			_, query, _ = strings.Cut(query, "\n")
			continue
		case strings.HasPrefix(query, "/*"):
			_, query, _ = strings.Cut(query, "*/")
			continue
		}
		break
	}
	end := 0
	for end < len(query) && (query[end]|0x20) >= 'a' && (query[end]|0x20) <= 'z' {
		end++
	}
	for _, v := range verbs {
		if strings.EqualFold(query[:end], v) {
			return v
		}
	}
	return "OTHER"
}

// withoutLiterals replaces strings and numbers in a statement by "?" and drops
// comments, which may hold values too. Words in backquotes stay; "..." is an
// identifier to some servers and a string to others, so it goes.
//
// The dialect is not known, and where two dialects would see the next literal
// begin at different places, all the rest is left out: behind a backslash
// before a quote, a quote inside a quoted identifier, a comment within a
// comment and the like. What follows an unclosed quote is a literal.
func withoutLiterals(query string) string {
	cut := len(query) > maxScan
	query = query[:min(len(query), maxScan)]
	var b strings.Builder
	b.Grow(min(len(query), 2*maxAttribute))
	word := false // the previous character belongs to an identifier
	for i := 0; i < len(query) && b.Len() < 4*maxAttribute; {
		c, end, clear := query[i], 0, true
		switch {
		case c == '\'' || c == '"':
			end, clear = quoted(query, i)
			b.WriteByte('?')
		case c == '`' || c == '[':
			if end, clear = identifier(query, i); clear {
				b.WriteString(query[i:end])
			}
		case strings.HasPrefix(query[i:], "--") || c == '#':
			end, clear = lineComment(query, i)
		case strings.HasPrefix(query[i:], "/*"):
			end, clear = blockComment(query, i)
			b.WriteByte(' ')
		case c == '$' && !word:
			end, clear = dollar(query, i)
			b.WriteByte('?')
		case c >= '0' && c <= '9' && !word:
			end = number(query, i)
			b.WriteByte('?')
		default:
			r, n := utf8.DecodeRuneInString(query[i:])
			b.WriteString(query[i : i+n])
			i += n
			word = isWord(r)
			continue
		}
		// Behind the cut may stand what makes this quote something else.
		if number := c >= '0' && c <= '9'; !clear || cut && !number {
			b.WriteString(" ...")
			break
		}
		i = end
		word = false
	}
	return strings.ToValidUTF8(b.String(), "\uFFFD")
}

func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

// isWordByte takes every byte of a character beyond ASCII for a word's.
func isWordByte(c byte) bool {
	return c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c >= utf8.RuneSelf
}

// quoted returns the index behind the quoted text that begins at i, in which a
// quote is doubled. Clear is false when the text ends elsewhere for a server
// to which a backslash escapes, or that knows q'[...]' or ”'...”'.
func quoted(s string, i int) (end int, clear bool) {
	quote := s[i]
	if i > 0 && s[i-1]|0x20 == 'q' {
		return 0, false
	}
	if three := s[i:min(i+3, len(s))]; len(three) == 3 && three[1] == quote && three[2] == quote && strings.Contains(s[i+3:], three) {
		return 0, false // BigQuery's string of three quotes
	}
	escaped := false // by an odd number of backslashes
	for i++; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			escaped = !escaped
			continue
		case s[i] != quote:
		case escaped:
			return 0, false
		case i+1 < len(s) && s[i+1] == quote:
			i++
		default:
			return i + 1, true
		}
		escaped = false
	}
	return len(s), true
}

// identifier returns the index behind `...` or behind the character [: an
// array may hold literals, which are replaced in their turn. A quote that has
// no partner there is part of a name.
func identifier(s string, i int) (end int, clear bool) {
	if s[i] == '[' {
		name, rest, ok := strings.Cut(s[i+1:], "]")
		quotes := strings.ContainsAny(name, `'"`)
		clear = strings.Count(name, "'")%2 == 0 && strings.Count(name, `"`)%2 == 0 && !hasComment(name) &&
			!(quotes && strings.ContainsAny(name, "\\$`")) &&
			!(strings.HasPrefix(rest, "]") && strings.ContainsAny(rest, "'\"`$")) // ]] escapes ]
		return i + 1, clear || !ok && !quotes
	}
	n := strings.IndexByte(s[i+1:], '`')
	if n < 0 {
		return len(s), false
	}
	name := s[i+1 : i+1+n]
	return i + n + 2, !strings.ContainsAny(name, "'\"\\$[]") && !hasComment(name)
}

func hasComment(s string) bool {
	return strings.Contains(s, "--") || strings.Contains(s, "/*") || strings.Contains(s, "#")
}

// lineComment returns the index of the end of the line. To some servers # is
// an operator, and -- begins a comment only before a space.
func lineComment(s string, i int) (end int, clear bool) {
	end = len(s)
	if n := strings.IndexByte(s[i:], '\n'); n >= 0 {
		end = i + n
	}
	text := s[i:end]
	sure := s[i] == '-' && (len(text) == 2 || text[2] == ' ' || text[2] == '\t' || text == "--\r") &&
		!strings.Contains(strings.TrimRight(text, "\r"), "\r") // which ends the line for PostgreSQL
	return end, sure || end == len(s) || !strings.ContainsAny(text, "'\"`$[") && !strings.Contains(text, "/*")
}

// blockComment returns the index behind a comment. Some servers know comments
// within comments, and some run what is in /*! ... */.
func blockComment(s string, i int) (end int, clear bool) {
	n := strings.Index(s[i+2:], "*/")
	if n < 0 {
		return len(s), true
	}
	text := s[i+2 : i+2+n]
	runs := strings.HasPrefix(text, "!") || strings.HasPrefix(text, "M!")
	return i + n + 4, !strings.Contains(text, "/*") && !(runs && strings.ContainsAny(text, "'\"`$[#-"))
}

// dollar returns the index behind $tag$...$tag$ of PostgreSQL, a parameter $1
// or a sum of money $19.99. Other servers take $ for a letter.
func dollar(s string, i int) (end int, clear bool) {
	end = i + 1
	for end < len(s) && isWordByte(s[end]) {
		end++
	}
	if end == i+1 && (end == len(s) || s[end] != '$') {
		return end, true
	}
	if digit := s[i+1]; digit >= '0' && digit <= '9' {
		return number(s, i+1), true
	}
	if end == len(s) || s[end] != '$' {
		return end, true
	}
	tag := s[i : end+1]
	n := strings.Index(s[end+1:], tag)
	if n < 0 {
		return len(s), true
	}
	body := s[end+1 : end+1+n]
	end += 1 + n + len(tag)
	return end, strings.Count(body, "'")%2 == 0 && strings.Count(body, `"`)%2 == 0 && strings.Count(body, "`")%2 == 0 && !hasComment(body)
}

// number returns the index behind the number that begins at i, with what may
// belong to it: 0x1F, 1_000, 1.5e-7.
func number(s string, i int) int {
	for i < len(s) && (isWordByte(s[i]) || s[i] == '.' || (s[i] == '+' || s[i] == '-') && s[i-1]|0x20 == 'e' && i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9') {
		i++
	}
	return i
}
