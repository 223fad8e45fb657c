package plan

// The metrics that the queries are built from, under short names. A test looks
// each of them up in observe.All().
const (
	serverRequests = "http_server_request_duration_seconds"
	serverActive   = "http_server_active_requests"
	serverStreams  = "observe_http_server_stream_duration_seconds"
	requestBodies  = "http_server_request_body_size_bytes"
	responseBodies = "http_server_response_body_size_bytes"
	panics         = "observe_panics_total"

	clientRequests = "http_client_request_duration_seconds"
	dbOperations   = "db_client_operation_duration_seconds"
	dbConnections  = "db_client_connection_count"
	dbMax          = "db_client_connection_max"
	dbWaits        = "observe_db_client_connection_waits_total"
	dbWaitSeconds  = "observe_db_client_connection_wait_seconds_total"
	calls          = "observe_dependency_duration_seconds"

	schedWait  = "go_schedule_duration_seconds"
	gcPause    = "go_memory_gc_pause_duration_seconds"
	gcGoal     = "go_memory_gc_goal_bytes"
	gcCycles   = "go_memory_gc_cycles_total"
	cpuTime    = "go_cpu_time_seconds_total"
	memoryUsed = "go_memory_used_bytes"
	memoryMax  = "go_memory_limit_bytes"
	allocated  = "go_memory_allocated_bytes_total"
	allocs     = "go_memory_allocations_total"
	goroutines = "go_goroutine_count"
	processors = "go_processor_limit"
	gogc       = "go_config_gogc_percent"

	dropped    = "observe_dropped_total"
	overflow   = "observe_series_overflow_total"
	logRecords = "observe_log_records_total"
	ready      = "observe_ready"
	checkUp    = "observe_check_up"
	buildInfo  = "observe_build_info"
)

// Foreign metrics: not ours, and yet always there.
const (
	processCPU   = "process_cpu_seconds_total"             // client_golang's process collector
	processStart = "process_start_time_seconds"            // same
	openFDs      = "process_open_fds"                      // same
	maxFDs       = "process_max_fds"                       // same
	residentSize = "process_resident_memory_bytes"         // same
	up           = "up"                                    // Prometheus, for every target
	scrapeTime   = "scrape_duration_seconds"               // same
	scrapeSize   = "scrape_samples_post_metric_relabeling" // same
	alerts       = "ALERTS"                                // Prometheus, for every alert
)

// The matcher of a failed request: what the server answered is its own fault.
const serverError = `http_response_status_code=~"5.."`

// The matcher of a failed call: timeouts, refused connections, statuses.
const anyError = `error_type!=""`

// Labels that a service and an instance are told apart by. cluster and
// namespace are often missing, which PromQL takes for empty.
var (
	perJob      = []string{"cluster", "namespace", "job"}
	perInstance = []string{"cluster", "namespace", "job", "instance"}
	perRoute    = []string{"cluster", "namespace", "job", "http_request_method", "http_route"}
	perCallee   = []string{"cluster", "namespace", "job", "dependency"}
)

// UIDs of the pages.
const (
	ServiceUID      = "loadline-service"
	RuntimeUID      = "loadline-runtime"
	DependenciesUID = "loadline-dependencies"
	TelemetryUID    = "loadline-telemetry"
	FleetUID        = "loadline-fleet"
)
