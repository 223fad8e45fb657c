package plan

// The metrics that the queries are built from, under short names. A test looks
// each of them up in observe.All().
const (
	serverRequests = "http_server_request_duration_seconds"
	serverActive   = "http_server_active_requests"
	serverStreams  = "observe_http_server_stream_duration_seconds"
	connections    = "observe_http_server_connections"
	accepted       = "observe_http_server_connections_accepted_total"
	handshakes     = "observe_http_server_tls_handshake_failures_total"
	firstByte      = "observe_http_server_stream_first_byte_seconds"
	queueTime      = "observe_http_server_queue_duration_seconds"
	queueIgnored   = "observe_http_server_queue_ignored_total"
	probes         = "observe_http_server_probes_total"
	requestBodies  = "http_server_request_body_size_bytes"
	responseBodies = "http_server_response_body_size_bytes"
	panics         = "observe_panics_total"

	declaredObjective = "observe_slo_objective_ratio"
	declaredRequests  = "observe_slo_requests_total"

	clientRequests = "http_client_request_duration_seconds"
	dbOperations   = "db_client_operation_duration_seconds"
	dbConnections  = "db_client_connection_count"
	dbMax          = "db_client_connection_max"
	dbWaits        = "observe_db_client_connection_waits_total"
	dbWaitSeconds  = "observe_db_client_connection_wait_seconds_total"
	dbWaitTime     = "db_client_connection_wait_time_seconds"
	dbUseTime      = "db_client_connection_use_time_seconds"
	dbCreateTime   = "db_client_connection_create_time_seconds"
	dbTimeouts     = "db_client_connection_timeouts_total"
	dbPending      = "db_client_connection_pending_requests"
	dbIdleMax      = "db_client_connection_idle_max"
	dbClosed       = "observe_db_client_connection_closed_total"
	dbRows         = "db_client_response_returned_rows"
	dbTransactions = "observe_db_transaction_duration_seconds"
	dbRepeated     = "observe_db_repeated_queries_total"
	dbUnclosed     = "observe_db_unclosed"
	calls          = "observe_dependency_duration_seconds"

	clientPhases      = "observe_http_client_phase_duration_seconds"
	clientConnections = "http_client_open_connections"
	connectionLife    = "http_client_connection_duration_seconds"
	connectionUses    = "observe_http_client_connection_uses_total"
	clientRetries     = "observe_http_client_retries_total"
	unclosedBodies    = "observe_http_client_unclosed_bodies_total"
	dnsLookups        = "dns_lookup_duration_seconds"
	rpcServed         = "rpc_server_call_duration_seconds"
	rpcActive         = "observe_rpc_server_active_calls"

	rpcCalls        = "rpc_client_call_duration_seconds"
	messageCalls    = "messaging_client_operation_duration_seconds"
	messagesHandled = "messaging_process_duration_seconds"

	messagesSent  = "messaging_client_sent_messages_total"
	messagesTaken = "messaging_client_consumed_messages_total"

	jobRuns     = "observe_job_duration_seconds"
	jobWaits    = "observe_job_wait_seconds"
	jobsActive  = "observe_job_active"
	jobRetries  = "observe_job_retries_total"
	jobSuccess  = "observe_job_last_success_timestamp_seconds"
	jobInterval = "observe_job_interval_seconds"
	jobOverdue  = "observe_job_overdue_seconds"

	queueLength    = "observe_queue_length"
	queueCapacity  = "observe_queue_capacity"
	queueUnacked   = "observe_queue_unacknowledged"
	queueConsumers = "observe_queue_consumers"
	queueOldest    = "observe_queue_oldest_age_seconds"
	queueAdded     = "observe_queue_added_total"
	queueTaken     = "observe_queue_taken_total"
	queueBlocked   = "observe_queue_blocked_seconds_total"

	cacheRequests  = "observe_cache_requests_total"
	cacheEvictions = "observe_cache_evictions_total"
	cacheEntries   = "observe_cache_entries"
	cacheBytes     = "observe_cache_size_bytes"
	cacheCapacity  = "observe_cache_capacity"
	cacheLoads     = "observe_cache_load_duration_seconds"
	cacheStampedes = "observe_cache_stampedes_total"
	sourceFailures = "observe_source_failures_total"
	streamBytes    = "observe_stream_bytes_total"
	streamBlocked  = "observe_stream_blocked_seconds_total"

	schedWait   = "go_schedule_duration_seconds"
	schedTotal  = "observe_schedule_wait_seconds_total"
	schedRecent = "observe_schedule_delay_seconds"
	wakeup      = "observe_wakeup_delay_seconds"
	mutexWait   = "observe_mutex_wait_seconds_total"
	runDelay    = "observe_run_delay_seconds_total"
	processors  = "go_processor_limit"

	gcPause    = "go_memory_gc_pause_duration_seconds"
	otherPause = "observe_other_pause_duration_seconds"
	gcGoal     = "go_memory_gc_goal_bytes"
	gcCycles   = "go_memory_gc_cycles_total"
	gcForced   = "observe_gc_forced_cycles_total"
	gcParts    = "observe_gc_cpu_seconds_total"
	gcRecent   = "observe_gc_cpu_ratio"
	gcLimited  = "observe_gc_limited"
	gogc       = "go_config_gogc_percent"
	cpuTime    = "go_cpu_time_seconds_total"
	processCPU = "process_cpu_time_seconds_total"

	memoryUsed  = "go_memory_used_bytes"
	memoryMax   = "go_memory_limit_bytes"
	heapLive    = "observe_memory_heap_live_bytes"
	allocated   = "go_memory_allocated_bytes_total"
	allocs      = "go_memory_allocations_total"
	headroom    = "observe_memory_headroom_ratio"
	timeToLimit = "observe_memory_time_to_limit_seconds"
	resident    = "process_memory_usage_bytes"
	virtual     = "process_memory_virtual_bytes"
	pageFaults  = "process_paging_faults_total"

	goroutines       = "go_goroutine_count"
	goroutineStates  = "observe_goroutines"
	goroutineCreated = "observe_goroutines_created_total"
	threads          = "process_thread_count"
	switches         = "process_context_switches_total"
	openFDs          = "process_unix_file_descriptor_count"
	maxFDs           = "observe_file_descriptor_limit"
	tcpSockets       = "observe_tcp_sockets"
	diskIO           = "process_disk_io_bytes_total"
	networkIO        = "process_network_io_bytes_total"
	uptime           = "process_uptime_seconds"

	findingActive = "observe_finding_active"
	findingShare  = "observe_finding_share"
	routeTime     = "observe_route_time_seconds_total"

	leakSuspects     = "observe_leak_suspects"
	leakedGoroutines = "observe_leaked_goroutines"
	leakUnknowns     = "observe_leak_unknowns"

	containerCPU         = "container_cpu_time_seconds_total"
	containerCPULimit    = "observe_container_cpu_limit"
	periods              = "observe_container_cpu_periods_total"
	throttledPeriods     = "observe_container_cpu_throttled_periods_total"
	throttledSeconds     = "observe_container_cpu_throttled_seconds_total"
	containerMemory      = "container_memory_usage_bytes"
	containerWorkingSet  = "container_memory_working_set_bytes"
	containerRSS         = "container_memory_rss_bytes"
	containerAvailable   = "container_memory_available_bytes"
	containerMemoryLimit = "observe_container_memory_limit_bytes"
	oomKills             = "observe_container_oom_kills_total"
	pressureWaiting      = "observe_pressure_waiting_seconds_total"
	pressureStalled      = "observe_pressure_stalled_seconds_total"

	hostCPU         = "system_cpu_time_seconds_total"
	hostAvailable   = "observe_host_memory_available_bytes"
	hostMemoryLimit = "observe_host_memory_limit_bytes"

	samplerWakeups = "observe_sampler_wakeups_total"
	samplerBusy    = "observe_sampler_busy_seconds_total"
	routeCPU       = "observe_cpu_seconds_total"
	profilerCPU    = "observe_profiler_cpu_seconds_total"
	capturesMade   = "observe_captures_total"
	capturesFailed = "observe_captures_failed_total"
	dropped        = "observe_dropped_total"
	overflow       = "observe_series_overflow_total"
	spanQueue      = "otel_sdk_processor_span_queue_size"
	spanQueueMax   = "otel_sdk_processor_span_queue_capacity"
	spansProcessed = "otel_sdk_processor_span_processed_total"
	spansExported  = "otel_sdk_exporter_span_exported_total"
	tracesLive     = "observe_traces_live"
	tracesLate     = "observe_traces_kept_late_total"
	tracesOver     = "observe_traces_over_budget_total"
	tracesEvicted  = "observe_traces_evicted_total"
	logRecords     = "observe_log_records_total"
	ready          = "observe_ready"
	checkUp        = "observe_check_up"
	checkTime      = "observe_check_duration_seconds"
	buildInfo      = "observe_build_info"
)

// Foreign metrics: Prometheus makes them for every target and every alert.
const (
	up         = "up"
	scrapeTime = "scrape_duration_seconds"
	scrapeSize = "scrape_samples_post_metric_relabeling"
	alerts     = "ALERTS"
)

// The matcher of a failed request: what the server answered is its own fault.
const serverError = `http_response_status_code=~"5.."`

// The matcher of a failed call: timeouts, refused connections, statuses.
const anyError = `error_type!=""`

// The matcher of a failed run: who cancels it does not want it any more.
const jobFailed = `error_type!="", error_type!="canceled"`

// Labels that a service and an instance are told apart by. cluster and
// namespace are often missing, which PromQL takes for empty.
var (
	perJob      = []string{"cluster", "namespace", "job"}
	perInstance = []string{"cluster", "namespace", "job", "instance"}
	perRoute    = []string{"cluster", "namespace", "job", "http_request_method", "http_route"}
	perHost     = []string{"cluster", "namespace", "job", "server_address", "server_port"}
	perCallee   = []string{"cluster", "namespace", "job", "dependency"}
)

// UIDs of the pages.
const (
	ServiceUID      = "loadline-service"
	SLOUID          = "loadline-slo"
	RouteUID        = "loadline-route"
	DiagnosisUID    = "loadline-diagnosis"
	RuntimeUID      = "loadline-runtime"
	DependenciesUID = "loadline-dependencies"
	BusinessUID     = "loadline-business"
	TelemetryUID    = "loadline-telemetry"
	FleetUID        = "loadline-fleet"
)
