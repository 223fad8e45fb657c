package observe

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestOperationIsTheVerb(t *testing.T) {
	for _, c := range []struct{ query, want string }{
		{"SELECT 1", "SELECT"},
		{"  select * from t", "SELECT"},
		{"\n\t(SELECT 1) UNION (SELECT 2)", "SELECT"},
		{"-- name: GetUser :one\nSELECT 1", "SELECT"},
		{"# mysql\nUPDATE t SET a = 1", "UPDATE"},
		{"/* a */ /* b */ Delete FROM t", "DELETE"},
		{";INSERT INTO t VALUES (1)", "INSERT"},
		{"\ufeffSELECT 1", "SELECT"},
		{"WITH x AS (SELECT 1) SELECT * FROM x", "WITH"},
		{"PREPARE p AS SELECT 1", "PREPARE"},
		{"selectx", "OTHER"},
		{"SELECT1", "SELECT"},
		{"/* open", "OTHER"},
		{"-- only", "OTHER"},
		{"hunter2", "OTHER"},
		{"", "OTHER"},
		{"日本", "OTHER"},
	} {
		if got := operation(c.query); got != c.want {
			t.Errorf("operation(%q) = %s, want %s", c.query, got, c.want)
		}
	}
	query := "-- name: GetUser :one\nselect 1"
	if n := allocations(100, func() { operation(query) }); n != 0 {
		t.Errorf("operation allocates %v times", n)
	}
}

func TestWithoutLiterals(t *testing.T) {
	for _, c := range []struct{ query, want string }{
		{"SELECT id FROM items WHERE id = 42", "SELECT id FROM items WHERE id = ?"},
		{"SELECT a1, t2.b3 FROM t2 WHERE x=1.5e-7 OR y=.5 OR z=0xFF OR w=1_000", "SELECT a1, t2.b3 FROM t2 WHERE x=? OR y=.? OR z=? OR w=?"},
		{"WHERE a = 'x' AND b = 'it''s' AND c = ''", "WHERE a = ? AND b = ? AND c = ?"},
		{`SELECT "id" FROM t`, "SELECT ? FROM t"},
		{"SELECT `id`, `my-col` FROM `db`.`t 1`", "SELECT `id`, `my-col` FROM `db`.`t 1`"},
		{"WHERE id = $1 AND x = $12", "WHERE id = ? AND x = ?"},
		{"WHERE id = ? AND x = :name AND y = @p1 AND z = :1", "WHERE id = ? AND x = :name AND y = @p1 AND z = :?"},
		{"WHERE price > $19.99", "WHERE price > ?"},
		{"SELECT $$secret$$, $tag$it's 'in' \"$tag$", "SELECT ?, ? ..."},
		{"SELECT $é$secret$é$", "SELECT ?"},
		{"SELECT v$session.sid FROM v$session", "SELECT v$session.sid FROM v$session"},
		{"SELECT 1 -- it's secret\nFROM t", "SELECT ? \nFROM t"},
		{"SELECT /* secret 42 */ a FROM t", "SELECT   a FROM t"},
		{"SELECT a # secret\nFROM t", "SELECT a \nFROM t"},
		{"SELECT X'1F', N'x', E'y', DATE '2024-01-01'", "SELECT X?, N?, E?, DATE ?"},
		{"SELECT ARRAY['a','b'], x[1]", "SELECT ARRAY[?,?], x[?]"},
		{"SELECT * FROM [my table] WHERE a = 'secret'", "SELECT * FROM [my table] WHERE a = ?"},
		{"WHERE a = 'open secret", "WHERE a = ?"},
		{"SELECT '日本', '\xff', 5é FROM été", "SELECT ?, ?, ? FROM été"},
		{"\xff", "\uFFFD"},
		// Where dialects differ the rest is left out.
		{`WHERE a = 'C:\' AND b = 'secret'`, "WHERE a = ? ..."},
		{`WHERE a = 'it\'s' AND b = 1`, "WHERE a = ? ..."},
		{`WHERE a = 'C:\\' AND b = 'secret'`, "WHERE a = ? AND b = ?"},
		{"SELECT `it's` WHERE a = 'secret'", "SELECT  ..."},
		{"SELECT [it's] WHERE a = 'secret'", "SELECT  ..."},
		{"SELECT [a]]b's] WHERE a = 'secret'", "SELECT  ..."},
		{"SELECT q'[it's]', 'secret'", "SELECT q? ..."},
		{"SELECT '''it's secret''' x", "SELECT ? ..."},
		{"SELECT a #>> '{x}' = 'a\nsecret'", "SELECT a  ..."},
		{"SELECT 5--'a\nsecret'", "SELECT ? ..."},
		{"SELECT /* a /* b */ secret */ 1", "SELECT   ..."},
		{"SELECT /*! '*/' */, 'secret'", "SELECT   ..."},
	} {
		if got := withoutLiterals(c.query); got != c.want {
			t.Errorf("withoutLiterals(%q)\n got %q\nwant %q", c.query, got, c.want)
		}
	}
}

// FuzzWithoutLiterals writes a secret into statements as a program would that
// puts values into their text, and looks for it in what comes out.
func FuzzWithoutLiterals(f *testing.F) {
	for _, s := range []string{"", "x", `it's`, `C:\`, `\'`, `"`, "`", "$$", "$a$", "--", "/*", "*/", "#", "[", "]", "\n", "\r", "''", `\\`, "q", "E", "5", "?", "é", "\xff"} {
		for kind := range byte(6) {
			f.Add(s, s, kind)
			f.Add(s, "'", kind)
			f.Add(`\`, s, kind)
		}
	}
	const secret = "hunter77secret"
	f.Fuzz(func(t *testing.T, before, after string, kind byte) {
		double := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
		escape := func(s string) string {
			return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
		}
		literal := double
		var query string
		switch kind % 6 {
		case 1: // MySQL
			literal = escape
			fallthrough
		case 0: // the standard
			query = "SELECT `a`, b1 FROM t WHERE x = " + literal(before) + " AND y = " + literal(before+secret+after) + " AND z IN (" + literal(secret) + ", 7755)"
		case 2: // PostgreSQL
			if strings.Contains(before+after, "$") {
				return
			}
			query = "SELECT " + double(before) + ", $tag$" + before + secret + after + "$tag$, " + double(secret) + ", $1"
		case 3: // SQL Server
			query = "SELECT [" + strings.ReplaceAll(before, "]", "]]") + "] FROM t WHERE a = " + double(secret) + " AND b = " + double(after+secret)
		case 4: // MySQL
			query = "SELECT `" + strings.ReplaceAll(before, "`", "``") + "` FROM t WHERE a = " + escape(secret) + " AND b = " + escape(after+secret)
		case 5: // a comment, then what follows it
			query = "SELECT a -- " + strings.NewReplacer("\n", "", "\r", "").Replace(before) + secret + "\nFROM t WHERE b = " + double(after+secret)
		}
		got := withoutLiterals(query)
		if strings.Contains(got, "hunter") || strings.Contains(got, "secret") || strings.Contains(got, "77") {
			t.Errorf("%q gives %q", query, got)
		}
		if !utf8.ValidString(got) {
			t.Errorf("%q gives %q, which is not UTF-8", query, got)
		}
		if len(got) > 8*maxAttribute {
			t.Errorf("%d bytes of %d", len(got), len(query))
		}
		operation(query)

		// Of anything at all no quote comes out, and no digit that begins a word.
		got = withoutLiterals(before)
		if strings.ContainsAny(got, `'"`) {
			t.Errorf("%q gives %q", before, got)
		}
		inside, name := false, false
		for _, r := range got {
			if name = name != (r == '`'); !name && !inside && r >= '0' && r <= '9' {
				t.Errorf("%q gives %q", before, got)
			}
			inside = isWord(r)
		}
	})
}

// What a client can put into a statement must not keep its request waiting. An
// unbounded scan of some of these takes seconds; a bounded one is far below the
// limit here, on any machine.
func TestHostileStatementsAreScannedInBoundedTime(t *testing.T) {
	for _, part := range []string{"[", "]", "(", "'", "\"", "`", "$", "$$", "$a$", "--", "--\n", "/*", "/**/", "*/", "#", "\\", "0", "1e", "\xff", "é"} {
		query := "select " + strings.Repeat(part, 1<<20/len(part))
		fastest := time.Hour
		for range 5 { // the machine may be busy: the best of five
			start := time.Now()
			operation(query)
			withoutLiterals(query)
			fastest = min(fastest, time.Since(start))
		}
		if fastest > 200*time.Millisecond {
			t.Errorf("a megabyte of %q takes %v", part, fastest)
		}
	}
}

// What is behind the cut can change what a quote before it means.
func TestLongStatementsKeepTheirSecretsToo(t *testing.T) {
	for _, quote := range []string{"'", "\"", "''", "'''", "`", "[", "$$", "$a$", "q'[", "E'", "/*", "--", "#", "\\'"} {
		for _, inner := range []string{"", "it's ", "a\"b ", "\\' ", "]] ", "/* ' */ "} {
			query := "select 1, x from t where a = " + quote + inner + "password" + strings.Repeat("y", 2*maxScan) + quote
			out := withoutLiterals(query)
			if strings.Contains(out, "passw") || !strings.HasPrefix(out, "select ?, x from t where a = ") {
				t.Errorf("%q%q...: %.80q", quote, inner, out)
			}
		}
	}
}
