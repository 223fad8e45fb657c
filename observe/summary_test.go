package observe

import (
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	for _, c := range []struct{ query, collection, summary string }{
		{"SELECT * FROM songs WHERE id = 1", "songs", "SELECT songs"},
		{"select id from public.songs s where s.name = 'FROM secrets'", "public.songs", "SELECT public.songs"},
		{"SELECT * FROM songs, artists", "", "SELECT songs artists"},
		{"SELECT * FROM songs AS s, artists AS a WHERE s.id = a.id", "", "SELECT songs artists"},
		{"SELECT * FROM songs s JOIN artists a ON a.id = s.id LEFT JOIN labels USING (id)", "", "SELECT songs artists labels"},
		{"SELECT a.id FROM songs a JOIN songs b ON a.id = b.id", "songs", "SELECT songs songs"},
		{"INSERT INTO shipping (order_id, address) SELECT order_id, address FROM orders WHERE id = 7", "", "INSERT shipping SELECT orders"},
		{"INSERT INTO items VALUES (1, 'INTO secrets')", "items", "INSERT items"},
		{"INSERT INTO items (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET b = $2 RETURNING id", "items", "INSERT items"},
		{"INSERT INTO t SET a = 1 ON DUPLICATE KEY UPDATE a = 2", "t", "INSERT t"},
		{"UPDATE items SET name = 'x' WHERE id = 1", "items", "UPDATE items"},
		{"UPDATE ONLY items SET a = b.a FROM others b WHERE items.id = b.id", "", "UPDATE items others"},
		{"DELETE FROM items WHERE id IN (SELECT id FROM old)", "", "DELETE items SELECT old"},
		{"SELECT * FROM items FOR UPDATE", "items", "SELECT items"},
		{"SELECT count(*) FROM (SELECT id FROM orders JOIN customers ON true) x", "", "SELECT SELECT orders customers"},
		{"SELECT EXTRACT(DAY FROM created_at), substring(name from 2), trim(both 'x' from y) FROM items", "items", "SELECT items"},
		{"SELECT * FROM items WHERE a IS DISTINCT FROM b", "items", "SELECT items"},
		{"WITH a AS (SELECT * FROM items), b AS (SELECT * FROM a) SELECT * FROM b JOIN c ON true", "", "WITH SELECT items SELECT SELECT c"},
		{"WITH RECURSIVE tree AS (SELECT 1 UNION ALL SELECT * FROM tree) SELECT * FROM tree", "", "WITH SELECT SELECT SELECT"},
		{`SELECT "users"."id" FROM "users" WHERE "users"."name" = "hunter2"`, "users", "SELECT users"},
		{"SELECT `a` FROM `shop`.`items`", "shop.items", "SELECT shop.items"},
		{"SELECT * FROM [dbo].[items] WHERE a = [b]", "dbo.items", "SELECT dbo.items"},
		{`SELECT * FROM "it's secret"`, "", "SELECT"},
		{"SELECT * FROM 'secret'", "", "SELECT"},
		{"SELECT * FROM $1", "", "SELECT"},
		{"SELECT * FROM generate_series(1, 10)", "generate_series", "SELECT generate_series"},
		{"SELECT 1", "", "SELECT"},
		{"SELECT 1 -- FROM secrets\nFROM t", "t", "SELECT t"},
		{"/* FROM secrets */ SELECT * FROM t", "t", "SELECT t"},
		{"CREATE TABLE IF NOT EXISTS items (id int)", "items", "CREATE items"},
		{"DROP TABLE items", "items", "DROP items"},
		{"TRUNCATE items", "items", "TRUNCATE items"},
		{"COPY items FROM STDIN", "items", "COPY items"},
		{"MERGE INTO a USING b ON a.id = b.id WHEN MATCHED THEN UPDATE SET x = 1", "", "MERGE a b"},
		{"REPLACE INTO items VALUES (1)", "items", "REPLACE items"},
		{"SELECT replace(a, 'x', 'y') FROM items", "items", "SELECT items"},
		{"SHOW TABLES", "", "SHOW"},
		{"hunter2", "", "OTHER"},
		{"", "", "OTHER"},
	} {
		_, collection, summary := summarize(c.query)
		if collection != c.collection || summary != c.summary {
			t.Errorf("summarize(%q)\n got %q, %q\nwant %q, %q", c.query, summary, collection, c.summary, c.collection)
		}
	}
}

// Whatever the text, a summary is short and made of words that stand in it.
func FuzzSummary(f *testing.F) {
	for _, s := range []string{"SELECT * FROM a, (SELECT 'x' FROM \"b\") c", "WITH a AS (x) INSERT INTO [b] VALUES ($$x$$)", "((((((", "FROM FROM FROM", "select * from a.b.c.`d`"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		verb, collection, summary := summarize(query)
		if !strings.HasPrefix(summary, verb) || len(summary) > maxSummary {
			t.Errorf("%q: %q", query, summary)
		}
		if strings.ContainsAny(summary, "'\"`();,?\n") || collection != "" && !strings.Contains(summary, collection) {
			t.Errorf("%q: summary %q, collection %q", query, summary, collection)
		}
	})
}

// Ten thousand brackets or names take no more than the look at a few kilobytes.
func TestSummaryIsBounded(t *testing.T) {
	for _, query := range []string{
		strings.Repeat("(", 1<<20), "SELECT * FROM " + strings.Repeat("t,", 1<<19), "WITH " + strings.Repeat("a AS (", 1<<17),
		"SELECT * FROM " + strings.Repeat("x", 1<<20),
	} {
		if _, _, summary := summarize(query); len(summary) > maxSummary {
			t.Errorf("%d bytes", len(summary))
		}
	}
}
