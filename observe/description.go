package observe

import (
	"slices"

	"github.com/loadline-go/loadline/runtimemetrics"
)

// A Description is everything there is to know about one metric: its name,
// kind, unit, help, labels and buckets.
type Description = runtimemetrics.Description

// Bucket bounds that the semantic conventions advise, in seconds.
// https://opentelemetry.io/docs/specs/semconv/http/http-metrics/ and .../database/database-metrics/
var (
	requestSeconds  = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
	databaseSeconds = []float64{0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10}
)

var (
	// What the semantic conventions advise for http.client.connection.duration.
	connectionSeconds = []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300}
	// A stream lives as long as its client likes: bounds from a second to a day.
	streamSeconds = []float64{1, 5, 15, 60, 300, 900, 3600, 14400, 86400}
	// https://opentelemetry.io/docs/specs/semconv/database/database-metrics/#metric-dbclientresponsereturned_rows
	rowCounts = []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000}
	// A job may be a message of milliseconds or a report of an hour.
	jobSeconds = []float64{0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600}
	// Powers of four from 256 B to 64 MiB: ten buckets cover a query parameter and an upload.
	bodyBytes = []float64{256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20}
)

// anything spans what a business counts, from a cent to ten million, in steps of
// 1, 2.5 and 5: a quantile is off by a factor of 2.5 at worst in the classic
// buckets, and exact to 5 % in the native ones.
var anything = []float64{
	0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500,
	1e3, 2.5e3, 5e3, 1e4, 2.5e4, 5e4, 1e5, 1e6, 1e7,
}

// The table. A metric of this package exists only by standing here.
var (
	serverDuration = Description{
		Name: "http_server_request_duration_seconds", OTel: "http.server.request.duration", Kind: runtimemetrics.Histogram, Unit: "s",
		Help:    "Time from the arrival of a request's header to the return of its handler; streams are kept apart.",
		Labels:  []string{"http_request_method", "http_route", "http_response_status_code", "error_type", "url_scheme"},
		Buckets: requestSeconds,
	}
	serverActive = Description{
		Name: "http_server_active_requests", OTel: "http.server.active_requests", Kind: runtimemetrics.Gauge, Unit: "{request}",
		Help:   "Requests whose handler is running.",
		Labels: []string{"http_request_method", "url_scheme"},
	}
	serverRequestBody = Description{
		Name: "http_server_request_body_size_bytes", OTel: "http.server.request.body.size", Kind: runtimemetrics.Histogram, Unit: "By",
		Help:    "Size of request bodies: the announced length, or the bytes read where none was announced.",
		Labels:  []string{"http_request_method", "http_route", "url_scheme"},
		Buckets: bodyBytes,
	}
	serverResponseBody = Description{
		Name: "http_server_response_body_size_bytes", OTel: "http.server.response.body.size", Kind: runtimemetrics.Histogram, Unit: "By",
		Help:    "Size of response bodies as the handler wrote them.",
		Labels:  []string{"http_request_method", "http_route", "url_scheme"},
		Buckets: bodyBytes,
	}
	serverStream = Description{
		Name: "observe_http_server_stream_duration_seconds", Kind: runtimemetrics.Histogram, Unit: "s",
		Help:    "Lifetime of responses that are streams: server-sent events, upgraded and hijacked connections.",
		Labels:  []string{"http_request_method", "http_route", "url_scheme"},
		Buckets: streamSeconds,
	}
	serverFirstByte = Description{
		Name: "observe_http_server_stream_first_byte_seconds", Kind: runtimemetrics.Histogram, Unit: "s",
		Help:    "Time until the first bytes of a stream were sent: its first flush, or the take-over of its connection.",
		Labels:  []string{"http_request_method", "http_route", "url_scheme"},
		Buckets: requestSeconds,
	}
	serverQueue = Description{
		Name: "observe_http_server_queue_duration_seconds", Kind: runtimemetrics.Histogram, Unit: "s",
		Help:    "Time between the proxy's stamp on a request (Config.QueueHeader) and its handler; absent without that setting.",
		Buckets: requestSeconds,
	}
	serverQueueIgnored = Description{
		Name: "observe_http_server_queue_ignored_total", Kind: runtimemetrics.Counter, Unit: "{request}",
		Help:   "Requests whose stamp (Config.QueueHeader) was not believed: garbage, in the future, or too old.",
		Labels: []string{"reason"},
	}
	serverProbes = Description{
		Name: "observe_http_server_probes_total", Kind: runtimemetrics.Counter, Unit: "{request}",
		Help:   "Probes (/livez, /readyz, /healthz, /metrics, Config.Probes) that passed a Handler; they are in no other metric of requests.",
		Labels: []string{"http_route", "http_response_status_code"},
	}
	serverPanics = Description{
		Name: "observe_panics_total", Kind: runtimemetrics.Counter, Unit: "{panic}",
		Help:   "Panics, and ends of the goroutine, that left a handler; each is also counted as a response with status 500.",
		Labels: []string{"http_route"},
	}
	serverConnections = Description{
		Name: "observe_http_server_connections", Kind: runtimemetrics.Gauge, Unit: "{connection}",
		Help:   "Open connections of a port that Serve serves, by state: new (no request yet), active, idle, hijacked (a handler took it over).",
		Labels: []string{"server_port", "state"},
	}
	serverAccepted = Description{
		Name: "observe_http_server_connections_accepted_total", Kind: runtimemetrics.Counter, Unit: "{connection}",
		Help:   "Connections accepted on a port that Serve serves.",
		Labels: []string{"server_port"},
	}
	serverHandshakeFailures = Description{
		Name: "observe_http_server_tls_handshake_failures_total", Kind: runtimemetrics.Counter, Unit: "{handshake}",
		Help:   "TLS handshakes that clients began and that failed, by class of error; eof is a client that went away.",
		Labels: []string{"server_port", "error_type"},
	}
	clientDuration = Description{
		Name: "http_client_request_duration_seconds", OTel: "http.client.request.duration", Kind: runtimemetrics.Histogram, Unit: "s",
		Help:    "Time from sending a request to having the header of its response.",
		Labels:  []string{"http_request_method", "server_address", "server_port", "http_response_status_code", "error_type", "url_template"},
		Buckets: requestSeconds,
	}
	clientPhase = Description{
		Name: "observe_http_client_phase_duration_seconds", Kind: runtimemetrics.Histogram, Unit: "s",
		Help:    "Time of one part of an outgoing request: wait for a connection when none was idle; connect and tls of a new one; first_byte, from the connection to the response's header; body, from there to its end.",
		Labels:  []string{"server_address", "server_port", "phase"},
		Buckets: databaseSeconds,
	}
	clientConnections = Description{
		Name: "http_client_open_connections", OTel: "http.client.open_connections", Kind: runtimemetrics.Gauge, Unit: "{connection}",
		Help:   "Open connections of outgoing HTTP by state: active while a request or its response's body is on it, else idle.",
		Labels: []string{"http_connection_state", "server_address", "server_port"},
	}
	clientConnectionDuration = Description{
		Name: "http_client_connection_duration_seconds", OTel: "http.client.connection.duration", Kind: runtimemetrics.Histogram, Unit: "s",
		Help:    "Lifetime of connections of outgoing HTTP that were closed.",
		Labels:  []string{"server_address", "server_port"},
		Buckets: connectionSeconds,
	}
	clientUses = Description{
		Name: "observe_http_client_connection_uses_total", Kind: runtimemetrics.Counter, Unit: "{request}",
		Help:   "Outgoing requests that got a connection: reused false on a new one, true on one that had served another.",
		Labels: []string{"server_address", "server_port", "reused"},
	}
	clientRetries = Description{
		Name: "observe_http_client_retries_total", Kind: runtimemetrics.Counter, Unit: "{request}",
		Help:   "Outgoing requests that repeat one that failed; error_type is what that one ended with.",
		Labels: []string{"server_address", "server_port", "error_type"},
	}
	clientUnclosed = Description{
		Name: "observe_http_client_unclosed_bodies_total", Kind: runtimemetrics.Counter, Unit: "{response}",
		Help:   "Response bodies that the program neither closed nor read for a minute; each holds a connection.",
		Labels: []string{"server_address", "server_port", "url_template"},
	}
	dnsDuration = Description{
		Name: "dns_lookup_duration_seconds", OTel: "dns.lookup.duration", Kind: runtimemetrics.Histogram, Unit: "s",
		Help:    "Time to look up the addresses of a host for a connection of outgoing HTTP.",
		Labels:  []string{"dns_question_name", "error_type"},
		Buckets: databaseSeconds,
	}
	dbDuration = Description{
		Name: "db_client_operation_duration_seconds", OTel: "db.client.operation.duration", Kind: runtimemetrics.Histogram, Unit: "s",
		Help:    "Time of a database operation, connecting and preparing among them, without waiting in the pool and without reading rows.",
		Labels:  []string{"db_system_name", "db_namespace", "db_operation_name", "db_collection_name", "db_query_summary", "error_type"},
		Buckets: databaseSeconds,
	}
	dbRows = Description{
		Name: "db_client_response_returned_rows", OTel: "db.client.response.returned_rows", Kind: runtimemetrics.Histogram, Unit: "{row}",
		Help:    "Rows that the program read of a query until it closed it.",
		Labels:  []string{"db_system_name", "db_namespace", "db_operation_name", "db_collection_name", "db_query_summary"},
		Buckets: rowCounts,
	}
	dbTransactions = Description{
		Name: "observe_db_transaction_duration_seconds", Kind: runtimemetrics.Histogram, Unit: "s",
		Help:    "Time from the begin of a transaction to its end by result: commit, rollback, abandoned when its context or connection ended first, or error when the end itself failed.",
		Labels:  []string{"db_system_name", "db_namespace", "result"},
		Buckets: databaseSeconds,
	}
	dbRepeated = Description{
		Name: "observe_db_repeated_queries_total", Kind: runtimemetrics.Counter, Unit: "{request}",
		Help:   "Requests, or other local roots of traces, that ran queries of one summary more often than Config.RepeatedQueries allows: a query in a loop.",
		Labels: []string{"db_namespace", "db_query_summary", "http_route"},
	}
	dbConnections = Description{
		Name: "db_client_connection_count", OTel: "db.client.connection.count", Kind: runtimemetrics.Gauge, Unit: "{connection}",
		Help:   "Open connections of a pool by state: idle or used.",
		Labels: []string{"db_client_connection_pool_name", "db_client_connection_state"},
	}
	dbConnectionsMax = Description{
		Name: "db_client_connection_max", OTel: "db.client.connection.max", Kind: runtimemetrics.Gauge, Unit: "{connection}",
		Help:   "Connections a pool may open; absent where there is no limit.",
		Labels: []string{"db_client_connection_pool_name"},
	}
	dbIdleMax = Description{
		Name: "db_client_connection_idle_max", OTel: "db.client.connection.idle.max", Kind: runtimemetrics.Gauge, Unit: "{connection}",
		Help:   "Idle connections a pool keeps; what is given back beyond is closed.",
		Labels: []string{"db_client_connection_pool_name"},
	}
	dbPending = Description{
		Name: "db_client_connection_pending_requests", OTel: "db.client.connection.pending_requests", Kind: runtimemetrics.Gauge, Unit: "{request}",
		Help:   "Goroutines that wait for a connection of a pool now.",
		Labels: []string{"db_client_connection_pool_name"},
	}
	dbTimeouts = Description{
		Name: "db_client_connection_timeouts_total", OTel: "db.client.connection.timeouts", Kind: runtimemetrics.Counter, Unit: "{timeout}",
		Help:   "Connections that could not be opened in time; a wait in the pool that its context ends is a wait, and no driver sees its end.",
		Labels: []string{"db_client_connection_pool_name"},
	}
	dbCreateTime = Description{
		Name: "db_client_connection_create_time_seconds", OTel: "db.client.connection.create_time", Kind: runtimemetrics.Histogram, Unit: "s",
		Help:    "Time of opening a connection.",
		Labels:  []string{"db_client_connection_pool_name"},
		Buckets: databaseSeconds,
	}
	dbWaitTime = Description{
		Name: "db_client_connection_wait_time_seconds", OTel: "db.client.connection.wait_time", Kind: runtimemetrics.Histogram, Unit: "s",
		Help:    "Time of waits for a connection of a pool; waits between two looks count with their mean, and a look is taken whenever a connection goes to a goroutine that waited.",
		Labels:  []string{"db_client_connection_pool_name"},
		Buckets: databaseSeconds,
	}
	dbUseTime = Description{
		Name: "db_client_connection_use_time_seconds", OTel: "db.client.connection.use_time", Kind: runtimemetrics.Histogram, Unit: "s",
		Help:    "Time from the first operation on a connection after it was taken from the pool to its return, reading rows among it.",
		Labels:  []string{"db_client_connection_pool_name"},
		Buckets: databaseSeconds,
	}
	dbClosed = Description{
		Name: "observe_db_client_connection_closed_total", Kind: runtimemetrics.Counter, Unit: "{connection}",
		Help:   "Connections that a pool closed by reason: max_idle, idle_time or lifetime. Many by max_idle are opened and closed in turn for nothing.",
		Labels: []string{"db_client_connection_pool_name", "reason"},
	}
	dbUnclosed = Description{
		Name: "observe_db_unclosed", Kind: runtimemetrics.Gauge, Unit: "{item}",
		Help:   "Rows and transactions that hold a connection and were left alone for a minute and more: no row read, no statement run.",
		Labels: []string{"db_client_connection_pool_name", "kind"},
	}
	dbWaits = Description{
		Name: "observe_db_client_connection_waits_total", Kind: runtimemetrics.Counter, Unit: "{wait}",
		Help:   "Times a goroutine had to wait for a connection of a pool.",
		Labels: []string{"db_client_connection_pool_name"},
	}
	dbWaitSeconds = Description{
		Name: "observe_db_client_connection_wait_seconds_total", Kind: runtimemetrics.Counter, Unit: "s",
		Help:   "Time goroutines spent waiting for a connection of a pool.",
		Labels: []string{"db_client_connection_pool_name"},
	}
	rpcDuration = Description{
		Name: "rpc_client_call_duration_seconds", OTel: "rpc.client.call.duration", Kind: runtimemetrics.Histogram, Unit: "s",
		Help:    "Time of remote procedure calls, from the client spans of instrumented libraries.",
		Labels:  []string{"rpc_system_name", "rpc_method", "server_address", "error_type"},
		Buckets: requestSeconds,
	}
	rpcServerDuration = Description{
		Name: "rpc_server_call_duration_seconds", OTel: "rpc.server.call.duration", Kind: runtimemetrics.Histogram, Unit: "s",
		Help:    "Time of remote procedure calls that were served, from the server spans of instrumented libraries; the method is _OTHER where it is not implemented.",
		Labels:  []string{"rpc_system_name", "rpc_method", "rpc_response_status_code", "error_type"},
		Buckets: requestSeconds,
	}
	rpcServerActive = Description{
		Name: "observe_rpc_server_active_calls", Kind: runtimemetrics.Gauge, Unit: "{call}",
		Help:   "Remote procedure calls that are being served, from the server spans of instrumented libraries; a method counts from its second call on.",
		Labels: []string{"rpc_system_name"},
	}
	messagingDuration = Description{
		Name: "messaging_client_operation_duration_seconds", OTel: "messaging.client.operation.duration", Kind: runtimemetrics.Histogram, Unit: "s",
		Help:    "Time of sending, receiving and settling messages: those sent through Publish, and from the spans of instrumented libraries.",
		Labels:  []string{"messaging_system", "messaging_operation_name", "messaging_destination_name", "error_type"},
		Buckets: requestSeconds,
	}
	messagingProcess = Description{
		Name: "messaging_process_duration_seconds", OTel: "messaging.process.duration", Kind: runtimemetrics.Histogram, Unit: "s",
		Help:    "Time of processing messages: in Run, and from the consumer spans of instrumented libraries.",
		Labels:  []string{"messaging_system", "messaging_operation_name", "messaging_destination_name", "error_type"},
		Buckets: requestSeconds,
	}
	dependencyDuration = Description{
		Name: "observe_dependency_duration_seconds", Kind: runtimemetrics.Histogram, Unit: "s",
		Help:    "Time of calls of any other dependency: those made through Call, and client spans that name only their peer.",
		Labels:  []string{"dependency", "operation", "error_type"},
		Buckets: requestSeconds,
	}
	messagesSent = Description{
		Name: "messaging_client_sent_messages_total", OTel: "messaging.client.sent.messages", Kind: runtimemetrics.Counter, Unit: "{message}",
		Help:   "Messages that Publish sent, or with an error_type tried to send.",
		Labels: []string{"messaging_system", "messaging_operation_name", "messaging_destination_name", "error_type"},
	}
	messagesConsumed = Description{
		Name: "messaging_client_consumed_messages_total", OTel: "messaging.client.consumed.messages", Kind: runtimemetrics.Counter, Unit: "{message}",
		Help:   "Messages that Run processed, whatever came of it.",
		Labels: []string{"messaging_system", "messaging_operation_name", "messaging_destination_name"},
	}
	jobDuration = Description{
		Name: "observe_job_duration_seconds", Kind: runtimemetrics.Histogram, Unit: "s",
		Help:    "Time of a job's runs by result: no error_type is success.",
		Labels:  []string{"job_name", "error_type"},
		Buckets: jobSeconds,
	}
	jobWait = Description{
		Name: "observe_job_wait_seconds", Kind: runtimemetrics.Histogram, Unit: "s",
		Help:    "Time that jobs waited in their queue before they ran, where the time of enqueueing is known.",
		Labels:  []string{"job_name"},
		Buckets: jobSeconds,
	}
	jobActive = Description{
		Name: "observe_job_active", Kind: runtimemetrics.Gauge, Unit: "{job}",
		Help:   "Runs of a job that are under way.",
		Labels: []string{"job_name"},
	}
	jobRetries = Description{
		Name: "observe_job_retries_total", Kind: runtimemetrics.Counter, Unit: "{run}",
		Help:   "Runs that were not the first attempt at their job.",
		Labels: []string{"job_name"},
	}
	jobSuccess = Description{
		Name: "observe_job_last_success_timestamp_seconds", Kind: runtimemetrics.Gauge, Unit: "s",
		Help:   "When a run last succeeded, in seconds since 1970; absent until one did.",
		Labels: []string{"job_name"},
	}
	jobInterval = Description{
		Name: "observe_job_interval_seconds", Kind: runtimemetrics.Gauge, Unit: "s",
		Help:   "How often the job is expected to succeed, for jobs that were given to Expect.",
		Labels: []string{"job_name"},
	}
	jobOverdue = Description{
		Name: "observe_job_overdue_seconds", Kind: runtimemetrics.Gauge, Unit: "s",
		Help:   "By how much an expected job's next success is late in this process, 0 while it is not.",
		Labels: []string{"job_name"},
	}
	queueLength = Description{
		Name: "observe_queue_length", Kind: runtimemetrics.Gauge, Unit: "{item}",
		Help:   "Items that wait in a queue; every instance that watches a queue of a server tells all of it.",
		Labels: []string{"queue"},
	}
	queueCapacity = Description{
		Name: "observe_queue_capacity", Kind: runtimemetrics.Gauge, Unit: "{item}",
		Help:   "Items that may wait in a queue, where there is a limit.",
		Labels: []string{"queue"},
	}
	queueUnacked = Description{
		Name: "observe_queue_unacknowledged", Kind: runtimemetrics.Gauge, Unit: "{item}",
		Help:   "Items that a queue handed out and that are not done.",
		Labels: []string{"queue"},
	}
	queueConsumers = Description{
		Name: "observe_queue_consumers", Kind: runtimemetrics.Gauge, Unit: "{consumer}",
		Help:   "Consumers that take from a queue; absent until there was one.",
		Labels: []string{"queue"},
	}
	queueOldest = Description{
		Name: "observe_queue_oldest_age_seconds", Kind: runtimemetrics.Gauge, Unit: "s",
		Help:   "How long the oldest item of a queue has been waiting, where it is known.",
		Labels: []string{"queue"},
	}
	queueAdded = Description{
		Name: "observe_queue_added_total", Kind: runtimemetrics.Counter, Unit: "{item}",
		Help:   "Items ever put into a queue, by the queue's own count.",
		Labels: []string{"queue"},
	}
	queueTaken = Description{
		Name: "observe_queue_taken_total", Kind: runtimemetrics.Counter, Unit: "{item}",
		Help:   "Items ever taken from a queue, by the queue's own count.",
		Labels: []string{"queue"},
	}
	queueBlocked = Description{
		Name: "observe_queue_blocked_seconds_total", Kind: runtimemetrics.Counter, Unit: "s",
		Help:   "Goroutine-seconds that senders waited for room in a Channel and receivers for items, by side: send or receive.",
		Labels: []string{"queue", "side"},
	}
	cacheRequests = Description{
		Name: "observe_cache_requests_total", Kind: runtimemetrics.Counter, Unit: "{request}",
		Help:   "Look-ups in a cache by result: hit or miss.",
		Labels: []string{"cache", "result"},
	}
	cacheEvictions = Description{
		Name: "observe_cache_evictions_total", Kind: runtimemetrics.Counter, Unit: "{entry}",
		Help:   "Entries that a cache gave up to make room.",
		Labels: []string{"cache"},
	}
	cacheEntries = Description{
		Name: "observe_cache_entries", Kind: runtimemetrics.Gauge, Unit: "{entry}",
		Help:   "Entries in a cache.",
		Labels: []string{"cache"},
	}
	cacheBytes = Description{
		Name: "observe_cache_size_bytes", Kind: runtimemetrics.Gauge, Unit: "By",
		Help:   "Bytes that the entries of a cache take.",
		Labels: []string{"cache"},
	}
	cacheCapacity = Description{
		Name: "observe_cache_capacity", Kind: runtimemetrics.Gauge, Unit: "{entry}",
		Help:   "Entries that a cache may hold, where there is a limit.",
		Labels: []string{"cache"},
	}
	cacheLoad = Description{
		Name: "observe_cache_load_duration_seconds", Kind: runtimemetrics.Histogram, Unit: "s",
		Help:    "Time of fetching what a cache did not have.",
		Labels:  []string{"cache", "error_type"},
		Buckets: databaseSeconds,
	}
	cacheStampedes = Description{
		Name: "observe_cache_stampedes_total", Kind: runtimemetrics.Counter, Unit: "{load}",
		Help:   "Loads that began while another load of the same key was under way.",
		Labels: []string{"cache"},
	}
	sourceFailures = Description{
		Name: "observe_source_failures_total", Kind: runtimemetrics.Counter, Unit: "{failure}",
		Help:   "Times that the state of a queue or cache could not be had; its values are absent meanwhile.",
		Labels: []string{"source", "name"},
	}
	streamBytes = Description{
		Name: "observe_stream_bytes_total", Kind: runtimemetrics.Counter, Unit: "By",
		Help:   "Bytes that went through the readers and writers of a stream, by side: read or write.",
		Labels: []string{"stream", "side"},
	}
	streamBlocked = Description{
		Name: "observe_stream_blocked_seconds_total", Kind: runtimemetrics.Counter, Unit: "s",
		Help:   "Goroutine-seconds inside Read, waiting for a stream's source, and inside Write, waiting for its sink.",
		Labels: []string{"stream", "side"},
	}
	logRecords = Description{
		Name: "observe_log_records_total", Kind: runtimemetrics.Counter, Unit: "{record}",
		Help:   "Log records that passed the log handler, by level.",
		Labels: []string{"level"},
	}
	ready = Description{
		Name: "observe_ready", Kind: runtimemetrics.Gauge, Unit: "1",
		Help: "1 while /readyz would answer 200 by the last results of the checks, else 0.",
	}
	checkUp = Description{
		Name: "observe_check_up", Kind: runtimemetrics.Gauge, Unit: "1",
		Help:   "1 when the last run of a readiness check passed, else 0; absent until it ran.",
		Labels: []string{"check"},
	}
	checkDuration = Description{
		Name: "observe_check_duration_seconds", Kind: runtimemetrics.Histogram, Unit: "s",
		Help:    "Time of the runs of a readiness check, by result: ok, error, panic or timeout.",
		Labels:  []string{"check", "result"},
		Buckets: databaseSeconds,
	}
	spanQueueSize = Description{
		Name: "otel_sdk_processor_span_queue_size", OTel: "otel.sdk.processor.span.queue.size", Kind: runtimemetrics.Gauge, Unit: "{span}",
		Help:   "Spans that wait for an exporter or are on their way.",
		Labels: []string{"otel_component_name"},
	}
	spanQueueCapacity = Description{
		Name: "otel_sdk_processor_span_queue_capacity", OTel: "otel.sdk.processor.span.queue.capacity", Kind: runtimemetrics.Gauge, Unit: "{span}",
		Help:   "The most spans that may wait for an exporter; beyond it they are dropped and counted.",
		Labels: []string{"otel_component_name"},
	}
	spansProcessed = Description{
		Name: "otel_sdk_processor_span_processed_total", OTel: "otel.sdk.processor.span.processed", Kind: runtimemetrics.Counter, Unit: "{span}",
		Help:   "Spans handed to an exporter, or dropped before it for the reason in error_type.",
		Labels: []string{"otel_component_name", "error_type"},
	}
	spansExported = Description{
		Name: "otel_sdk_exporter_span_exported_total", OTel: "otel.sdk.exporter.span.exported", Kind: runtimemetrics.Counter, Unit: "{span}",
		Help:   "Spans that an exporter sent, or with an error_type could not send.",
		Labels: []string{"otel_component_name", "error_type"},
	}
	tracesLive = Description{
		Name: "observe_traces_live", Kind: runtimemetrics.Gauge, Unit: "{trace}",
		Help: "Traces with more than one span whose spans have not all ended.",
	}
	tracesKeptLate = Description{
		Name: "observe_traces_kept_late_total", Kind: runtimemetrics.Counter, Unit: "{trace}",
		Help: "Traces that the sampler refused and that were exported because they turned out slow, failed or marked.",
	}
	tracesOverBudget = Description{
		Name: "observe_traces_over_budget_total", Kind: runtimemetrics.Counter, Unit: "{trace}",
		Help: "Traces that would have been kept late but for the budget of late traces a second.",
	}
	tracesEvicted = Description{
		Name: "observe_traces_evicted_total", Kind: runtimemetrics.Counter, Unit: "{trace}",
		Help: "Traces that gave up their waiting spans because too many were live.",
	}
	routeCPU = Description{
		Name: "observe_cpu_seconds_total", Kind: runtimemetrics.Counter, Unit: "s",
		Help:   "CPU time of the process by route, or none: each minute's, divided by a profile of ten seconds of it; a share of 30 % of a busy core is right to 3 points.",
		Labels: []string{"http_route"},
	}
	profilerCPU = Description{
		Name: "observe_profiler_cpu_seconds_total", Kind: runtimemetrics.Counter, Unit: "s",
		Help:   "CPU time that the service's own profiling took, by profile: measured, but for the samples of the CPU (10 us each) and the writing of their profile (five times its reading).",
		Labels: []string{"profile"},
	}
	capturesMade = Description{
		Name: "observe_captures_total", Kind: runtimemetrics.Counter, Unit: "{capture}",
		Help:   "Bundles of evidence made, by what asked for them: slow_request, slow_job, slo_burn, finding, sched_delay, cpu, goroutines, memory, leak, signal, manual, crash.",
		Labels: []string{"reason"},
	}
	capturesFailed = Description{
		Name: "observe_captures_failed_total", Kind: runtimemetrics.Counter, Unit: "{capture}",
		Help: "Bundles of evidence that could not be written or uploaded, or were found torn at the start.",
	}
	dropped = Description{
		Name: "observe_dropped_total", Kind: runtimemetrics.Counter, Unit: "{item}",
		Help:   "Telemetry that was produced and could not be delivered, by signal and reason.",
		Labels: []string{"signal", "reason"},
	}
	seriesOverflow = Description{
		Name: "observe_series_overflow_total", Kind: runtimemetrics.Counter, Unit: "{event}",
		Help:   "Events counted under the label value other because the metric had reached its limit of series; label names the one with most values.",
		Labels: []string{"metric", "label"},
	}
	findingActive = Description{
		Name: "observe_finding_active", Kind: runtimemetrics.Gauge, Unit: "{finding}",
		Help:   "1 while the doctor finds this cause of harm, 0 for half an hour after; subject is the route, dependency, pool, queue or function that it blames.",
		Labels: []string{"cause", "subject", "level"},
	}
	findingShare = Description{
		Name: "observe_finding_share", Kind: runtimemetrics.Gauge, Unit: "1",
		Help:   "Share of the users' time that what the doctor finds costs.",
		Labels: []string{"cause", "subject"},
	}
	routeTime = Description{
		Name: "observe_route_time_seconds_total", Kind: runtimemetrics.Counter, Unit: "s",
		Help:   "Time of the requests that have ended, by what they were at: running, ready, gc_assist, lock, pool, a dependency by its name, or other. What is known of the process alone is divided among the routes by their own time.",
		Labels: []string{"http_route", "part"},
	}
	leakSuspects = Description{
		Name: "observe_leak_suspects", Kind: runtimemetrics.Gauge, Unit: "{suspect}",
		Help:   "Sites and groups that only grow, at the last look, by kind: goroutine, heap, file, socket, close_wait, pipe, descriptor, and of what was left open rows, tx, body; absent before the first look.",
		Labels: []string{"kind"},
	}
	leakedGoroutines = Description{
		Name: "observe_leaked_goroutines", Kind: runtimemetrics.Gauge, Unit: "{goroutine}",
		Help:   "Goroutines of the suspects of kind goroutine, by the place that started them.",
		Labels: []string{"site"},
	}
	leakUnknowns = Description{
		Name: "observe_leak_unknowns", Kind: runtimemetrics.Gauge, Unit: "{source}",
		Help: "Things that the leak watch could not look at, or only in part, at the last look: of those, no suspects does not mean no leaks.",
	}
	buildInfo = Description{
		Name: "observe_build_info", Kind: runtimemetrics.Gauge, Unit: "1",
		Help:   "Always 1; the labels tell the service, its version and the Go it was built with.",
		Labels: []string{"service_name", "service_version", "go_version"},
	}
)

// All returns the description of every metric that Loadline can emit, sorted
// by name: the runtime's and its own, without those that a program defines
// with NewCounter, NewGauge and NewHistogram, and without those of
// client_golang's Go and process collectors, which stay registered beside
// them. The caller may keep and change the slice.
func All() []Description {
	all := slices.Concat(own(), runtimemetrics.All())
	slices.SortFunc(all, func(a, b Description) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return all
}

func own() []Description {
	return []Description{
		serverDuration, serverActive, serverRequestBody, serverResponseBody, serverStream, serverFirstByte, serverPanics,
		serverQueue, serverQueueIgnored, serverProbes, sloObjective, sloRequests,
		serverConnections, serverAccepted, serverHandshakeFailures,
		clientDuration, clientPhase, clientConnections, clientConnectionDuration, clientUses, clientRetries, clientUnclosed, dnsDuration,
		dbDuration, dbRows, dbTransactions, dbRepeated,
		dbConnections, dbConnectionsMax, dbIdleMax, dbPending, dbTimeouts, dbCreateTime, dbWaitTime, dbUseTime,
		dbWaits, dbWaitSeconds, dbClosed, dbUnclosed,
		rpcDuration, rpcServerDuration, rpcServerActive, messagingDuration, messagingProcess, messagesSent, messagesConsumed, dependencyDuration,
		jobDuration, jobWait, jobActive, jobRetries, jobSuccess, jobInterval, jobOverdue,
		queueLength, queueCapacity, queueUnacked, queueConsumers, queueOldest, queueAdded, queueTaken, queueBlocked,
		cacheRequests, cacheEvictions, cacheEntries, cacheBytes, cacheCapacity, cacheLoad, cacheStampedes,
		sourceFailures, streamBytes, streamBlocked,
		logRecords, ready, checkUp, checkDuration,
		spanQueueSize, spanQueueCapacity, spansProcessed, spansExported,
		tracesLive, tracesKeptLate, tracesOverBudget, tracesEvicted,
		findingActive, findingShare, routeTime,
		leakSuspects, leakedGoroutines, leakUnknowns,
		routeCPU, profilerCPU, capturesMade, capturesFailed, dropped, seriesOverflow, buildInfo,
	}
}
