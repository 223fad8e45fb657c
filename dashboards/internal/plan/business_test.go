package plan

import (
	"strings"
	"testing"
)

func withBusiness() Config {
	c := Default()
	c.Business = []Metric{
		{Name: "shop_orders_total", Kind: "counter", Help: "Orders.", Labels: []string{"payment_method", "result"}},
		{Name: "shop_visits_total", Kind: "counter"},
		{Name: "shop_order_euros", Kind: "histogram", Unit: "{euros}", Help: "Value of an order.", Labels: []string{"payment_method"}},
		{Name: "shop_active_users", Kind: "gauge", Unit: "{users}", Help: "Users.", Labels: []string{"window"}},
	}
	return c
}

func TestBusinessPageShowsEachMetric(t *testing.T) {
	if n, m := len(Default().Dashboards()), len(withBusiness().Dashboards()); m != n+1 {
		t.Errorf("%d pages with metrics of a program's own and %d without", m, n)
	}
	c := withBusiness()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	page := c.BusinessPage()
	if len(page.Rows) != 1+len(c.Business) {
		t.Fatalf("%d rows for %d metrics", len(page.Rows), len(c.Business))
	}
	for i, m := range c.Business {
		for _, p := range page.Rows[1+i].Panels {
			for _, q := range p.Queries {
				if !strings.Contains(q.Expr, m.Name) {
					t.Errorf("%s: %q asks for something else: %s", m.Name, p.Title, q.Expr)
				}
				// Native or classic, whichever the scrape carries.
				if both := strings.Contains(q.Expr, m.Name+"_") == strings.Contains(q.Expr, m.Name+"{"); m.Kind == "histogram" && !both {
					t.Errorf("%s: %q asks one side: %s", m.Name, p.Title, q.Expr)
				}
			}
		}
	}
	c.BusinessDrop = 0
	if n, m := len(c.Alerts()), len(Default().Alerts()); n != m {
		t.Errorf("%d alerts without that of the business, want %d", n, m)
	}
	for name, m := range map[string]Metric{
		"metric": {Name: `x{a="b"}`, Kind: "gauge"}, "label": {Name: "x", Kind: "gauge", Labels: []string{"a) or vector(1"}}, "kind": {Name: "x", Kind: "summary"},
	} {
		c.Business = []Metric{m}
		if err := c.Validate(); err == nil {
			t.Errorf("%s: %+v is taken", name, m)
		}
	}
}
