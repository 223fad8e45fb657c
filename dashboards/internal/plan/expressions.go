package plan

// Expressions that stand on more than one page, or on a page and in a rule.

// cpuShare is the used CPU of what GOMAXPROCS allows.
func (s scope) cpuShare(by ...string) string {
	return ratio(sum(s.rate(processCPU), by...), most(s.now(processors), by...))
}

// gcShare is the collector's part of the CPU that was used. Both are the
// runtime's own estimates, and comparable only with each other.
func (s scope) gcShare(by ...string) string {
	return ratio(sum(s.where(`go_cpu_state="gc"`).rate(cpuTime), by...), sum(s.where(`go_cpu_state!="idle"`).rate(cpuTime), by...))
}

// memoryShare is the runtime's memory of its limit. Without a limit there is no
// series, and where another exporter writes the largest integer, it is passed over.
func (s scope) memoryShare(by ...string) string {
	return sum(s.now(memoryUsed), by...) + " / (" + most(s.now(memoryMax), by...) + " < 1e15)"
}

// descriptorShare is the open file descriptors of their limit.
func (s scope) descriptorShare(by ...string) string {
	return ratio(most(s.now(openFDs), by...), most(s.now(maxFDs), by...))
}

// poolShare is the connections in use of those that a pool may open.
func (s scope) poolShare(by ...string) string {
	return ratio(sum(s.where(`db_client_connection_state="used"`).now(dbConnections), by...), sum(s.now(dbMax), by...))
}

// throttleShare is the quota periods that ended early, of all in which
// something ran.
func (s scope) throttleShare(by ...string) string {
	return ratio(sum(s.rate(throttledPeriods), by...), sum(s.rate(periods), by...))
}

// containerMemoryShare is what the kernel counts against the container's limit
// and cannot give back without writing: at 1 it kills.
func (s scope) containerMemoryShare(by ...string) string {
	return ratio(most(s.now(containerWorkingSet), by...), most(s.now(containerMemoryLimit), by...))
}

// retryShare is the requests that repeat one that failed, of all that go out.
func (s scope) retryShare(by ...string) string {
	return sum(s.rate(clientRetries), by...) + " / (" + s.count(clientRequests, by...) + " > 0)"
}

// queueShare is how full the queue of spans before an exporter is.
func (s scope) queueShare(by ...string) string {
	return ratio(sum(s.now(spanQueue), by...), sum(s.now(spanQueueMax), by...))
}

// queueFill is how full the queue of jobs or items is.
func (s scope) queueFill(by ...string) string {
	return ratio(sum(s.now(queueLength), by...), sum(s.now(queueCapacity), by...))
}

// byCallee gives one name to what is called: host and port of an HTTP server,
// the name given to OpenDB, the dependency given to Call, host of a remote
// procedure, broker and destination of a message.
func byCallee(kind callKind, expr string) string {
	switch kind {
	case httpCall:
		return `label_join(` + expr + `, "dependency", ":", "server_address", "server_port")`
	case dbCall:
		return `label_replace(` + expr + `, "dependency", "$1", "db_namespace", "(.*)")`
	case rpcCall:
		return `label_join(` + expr + `, "dependency", " ", "rpc_system_name", "server_address")`
	case messageCall:
		return `label_join(` + expr + `, "dependency", " ", "messaging_system", "messaging_destination_name")`
	}
	return expr
}

// A callKind is one of the ways out of a service.
type callKind string

const (
	httpCall    callKind = "http"
	dbCall      callKind = "db"
	rpcCall     callKind = "rpc"
	messageCall callKind = "messaging"
	otherCall   callKind = "call"
)

var callKinds = []callKind{httpCall, dbCall, rpcCall, messageCall, otherCall}

func (k callKind) metric() string {
	return map[callKind]string{httpCall: clientRequests, dbCall: dbOperations, rpcCall: rpcCalls, messageCall: messageCalls, otherCall: calls}[k]
}

// labels are the metric's own labels that name the callee.
func (k callKind) labels() []string {
	return map[callKind][]string{
		httpCall:    {"server_address", "server_port"},
		dbCall:      {"db_namespace"},
		rpcCall:     {"rpc_system_name", "server_address"},
		messageCall: {"messaging_system", "messaging_destination_name"},
		otherCall:   {"dependency"},
	}[k]
}

// failed matches calls that did not get what they asked for. A 4xx is an answer
// to a question of ours, except 429: too many requests.
func (k callKind) failed() string {
	if k == httpCall {
		return `error_type!="", error_type!~"4[013-9].|42[0-8]"`
	}
	return anyError
}
