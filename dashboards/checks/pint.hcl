# What pint is asked of the rules beyond what it asks by itself, all of it
# without a server. A check is disabled for one rule or file, with the reason.

parser {
  # In a PrometheusRule the groups lie deeper.
  relaxed = [".*/kubernetes/.*"]
}

# It fires always: a dead man's switch pages when it stops.
rule {
  match {
    name = "Watchdog"
  }
  disable = ["alerts/comparison"]
}

# The rules of objectives are in groups of their own, because not every
# Prometheus keeps the days that they look at. They may so see what the
# recording rules made an interval ago, which is nothing to a window of 5
# minutes and more.
rule {
  match {
    name = "slo:.+"
  }
  disable = ["rule/dependency"]
}

# Who is called, what is wrong, what to do, and where to look.
rule {
  locked = true
  match {
    kind = "alerting"
  }
  label "severity" {
    severity = "bug"
    values   = ["critical", "warning", "info", "none"]
    required = true
  }
  label "category" {
    severity = "bug"
    value    = "[a-z]+"
    required = true
  }
  annotation "summary" {
    severity = "bug"
    value    = ".{10,200}"
    required = true
  }
  annotation "description" {
    severity = "bug"
    value    = ".{10,}"
    required = true
  }
  annotation "runbook_url" {
    severity = "bug"
    value    = "https?://.+/{{ $alert }}[.]md"
    required = true
  }
  annotation "dashboard_url" {
    severity = "bug"
    value    = "https?://.+/d/.+"
    required = true
  }
}

# level:metric:operations, as Prometheus recommends, and no service's numbers
# among another's.
rule {
  locked = true
  match {
    kind = "recording"
  }
  name "[a-z_]+:[a-z0-9_]+:[a-z0-9_]+" {
    severity = "bug"
  }
}
rule {
  locked = true
  ignore {
    name = "Watchdog"
  }
  aggregate ".+" {
    severity = "bug"
    keep     = ["job"]
  }
}
