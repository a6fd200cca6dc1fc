"""Every limit and default, with its unit and where it comes from: AWS's number, or ours.

Nothing here is a setting; what the hub file may change says so and is the default of that setting. A bound that only
one protocol or one algorithm has stands at the top of its module, with the same notes; `core/` keeps its own, because
it imports nothing from here.
"""

# What a producer may send ("eb-putevents", PutEvents API reference).
ENTRIES_PER_REQUEST_MAX = 10
REQUEST_ENTRIES_BYTES_MAX = 1024 * 1024  # 1 MB since January 2026; setting `put_events_bytes_max`
REQUEST_BODY_BYTES_MAX = 4 * 1024 * 1024  # ours: 1 MB of entries may grow threefold by JSON escapes
REQUEST_READ_S_MAX = 30.0  # ours: against clients that send slowly
ANSWER_READ_S_MAX = 30.0  # ours: against clients that do not read what they are answered
KEEP_ALIVE_S = 75.0  # ours: a connection without a request ends
CONNECTIONS_MAX = 10_000  # ours, and no more than the open files of the process leave room for
CONNECTIONS_RESERVED_FILES = 256  # ours: open files that the hub itself needs, with its sinks' connections
FAST_LANE_HEAD_BYTES_MAX = 8192  # ours: a longer one is aiohttp's to judge
FAST_LANE_HEADERS_MAX = 64  # ours: more are aiohttp's to judge
FAST_LANE_AHEAD_BYTES_MAX = 65_536  # ours: what a client may send beyond the request that is being answered

# What can be configured ("eb-quota"; EventBridge API reference).
RULES_PER_BUS_MAX = 300  # quotas: aws
RULES_PER_BUS_RAISED = 100_000  # quotas: raised
TARGETS_PER_RULE_MAX = 5
BUSES_PER_LOCATION_MAX = 100  # quotas: aws
BUSES_PER_LOCATION_RAISED = 10_000  # quotas: raised
PATTERN_CHARS_MAX = 2048  # quotas: aws
PATTERN_CHARS_RAISED = 4096  # the API model's own bound; quotas: raised
WILDCARD_RULES_PER_BUS_MAX = 30  # quotas: aws
WILDCARD_RULES_PER_BUS_RAISED = 100_000  # quotas: raised
ENDPOINTS_PER_LOCATION_MAX = 100
PARTNER_SOURCE_PENDING_S_MAX = 14 * 86_400
POLICY_CHARS_MAX = 10_240
CONNECTIONS_MAX = 3000  # a location; quotas: aws
CONNECTIONS_RAISED = 100_000  # quotas: raised
API_DESTINATIONS_MAX = 3000  # a location; quotas: aws
API_DESTINATIONS_RAISED = 100_000  # quotas: raised
INVOCATIONS_PER_S_DEFAULT = 300  # of an API destination (recorded)
INVOCATIONS_PER_S_MAX = 300  # quotas: aws
INVOCATIONS_PER_S_RAISED = 100_000  # quotas: raised
CONNECTION_PARAMETERS_MAX = 100  # of each kind
CONNECTION_PAYLOAD_BYTES_MAX = 65_536  # a payload with what the connection adds to it
TAGS_PER_RESOURCE_MAX = 50
PAGE_ITEMS_DEFAULT = 100
LOCATIONS_MAX = 10_000  # ours: undeclared locations are created on first use under `auth: none`

# Delivery ("eb-rule-retry-policy", "eb-api-destinations").
RETRY_ATTEMPTS_DEFAULT = 185
EVENT_AGE_S_DEFAULT = 86_400
API_DESTINATION_TIMEOUT_S = 5.0
OAUTH_TIMEOUT_S = 5.0  # ours: as long as a destination may take
OAUTH_EXPIRES_WITHIN_S = 60.0  # "eb-target-connection-auth": a token is refreshed when it is this close to its end
OAUTH_REFRESH_S_MIN = 1.0  # ours: a younger token that a destination refuses is not asked for anew
OAUTH_TOKEN_CHARS_MAX = 16_384  # ours
AUTHORIZE_ATTEMPTS_MAX = 5  # ours: a new connection is DEAUTHORIZED after as many failures, or a refusal
AUTHORIZE_DELAY_S = 1.0  # ours: before the second attempt; doubled with each
AUTHORIZING_MAX = 16  # ours: connections that are being authorized at the same time
CONNECTION_STATE_S_MIN = 5.0  # ours: between two changes of a connection's state by what destinations answer
SINK_TIMEOUT_S = 10.0  # ours: real calls to AWS-protocol endpoints
LANE_DELIVERIES_IN_MEMORY_MAX = 5000  # ours: the rest of a target's backlog waits on disk
DEPOSITS_AT_ONCE_MAX = 1000  # ours: messages that one acceptance puts into inboxes; it holds up others meanwhile
OUTCOMES_UNSETTLED_MAX = 64  # ours: calls of one target that have come back and whose outcomes are not on disk yet
ACCEPTS_IN_FLIGHT_MAX = 512  # ours: PutEvents requests waiting for the store; more are throttled per entry
DELIVERIES_IN_MEMORY_BYTES_MAX = 64 * 1024**2  # ours: over all targets; each still gets one batch
PROBED_AFTER_FAILURES = 10  # ours: calls in a row, then one at a time with pauses; setting `probing.after_failures`
PROBE_PAUSE_S_MAX = 30.0  # ours; setting `probing.pause_s_max`
TARGET_CALLS_MAX = 1000  # ours: the most that `target_limits[].concurrency` may be
EXPIRED_DELIVERIES_MAX = 500  # ours: given up for their age in one transaction, untried
DRAIN_S_MAX = 20.0  # ours: how long attempts in flight may take after SIGTERM

# Fault profiles.
PROFILES_MAX = 100  # ours
PROFILE_SERIES_MAX = 200  # ours: names of profiles beyond it are counted under `other`
FAULT_LATENCY_MS_MAX = 600_000  # ours; beyond what its sink waits for, a call is a timeout
FAULT_S_MAX = 30 * 86_400  # ours: of an outage's start, length and repeat
FAULTED_CALLS_MAX = 16  # ours, as for Lambda: at once to a target inside the hub that a profile fits
FAULT_LINES_MAX = 100_000  # ours: of (rule, target) pairs whose profiles are remembered

# The store.
STORE_BYTES_MAX = 16 * 1024**3  # ours; setting `store.bytes_max`
STORE_RESERVE_BYTES = 256 * 1024**2  # ours: for outcomes when the store is full
DEAD_LETTERS_MAX = 1_000_000  # ours; the oldest go first, counted
DEAD_LETTER_AGE_S_MAX = 14 * 86_400  # ours, as long as an SQS queue keeps one at most

# Archives and replays ("eb-archive", "eb-quota"; StartReplay API reference).
REPLAYS_ACTIVE_MAX = 10  # in a location
REPLAY_HISTORY_S = 90 * 86_400
REPLAY_EVENTS_PER_COMMIT_MAX = 100  # ours
REPLAY_BYTES_PER_COMMIT_MAX = 1024 * 1024  # ours: and the event with which it is reached
REPLAY_PENDING_MAX = 10_000  # ours: with more deliveries pending, replays go a commit a second; `replays.pending_max`
REPLAY_STATE_S_MIN = 1.0  # ours: how long STARTING and CANCELLING last at least, so that who asks can see them
ARCHIVE_SWEEP_S = 3600.0  # ours: how often archives are looked through for what is older than their retention

# The trace (`crossbus trace`).
TRACE_AGE_S_MAX = 3600  # ours; setting `trace.age_s_max`
TRACE_BYTES_MAX = 256 * 1024**2  # ours; setting `trace.bytes_max`
TRACE_STORE_SHARE = 8  # ours: it never takes more than this part of `store.bytes_max`
TRACE_TEXT_CHARS_MAX = 256  # ours: of an event's source and detail type
TRACE_MESSAGE_CHARS_MAX = 300  # ours: of a failed attempt's message
TRACE_NOWHERE_EVENTS_MAX = 10_000  # ours: events that match nothing, remembered in memory
TRACED_DELIVERIES_MAX = 1000  # ours: that one answer shows
TRACED_ATTEMPTS_MAX = 20  # ours: the latest of a delivery's that an answer shows
TRACED_ROWS_MAX = 1_000_000  # ours: of what is pending or kept, looked through where the trace has nothing any more

# Simulated inboxes (SQS and CloudWatch Logs developer guides, and ours).
INBOX_MESSAGES_MAX = 1_000_000  # ours; setting `inboxes.messages_max`
MESSAGE_BYTES_MAX = 1024 * 1024  # SQS, since August 2025
QUEUE_IN_FLIGHT_MAX = 120_000  # SQS, standard queues
FIFO_IN_FLIGHT_MAX = 120_000  # SQS, FIFO queues
QUEUE_RETENTION_S_DEFAULT = 345_600  # SQS: four days
VISIBILITY_S_DEFAULT = 30
WAIT_S_MAX = 20
RECEIVE_MESSAGES_MAX = 10
DEDUPLICATION_S = 300
LOG_EVENT_BYTES_MAX = 1024 * 1024  # CloudWatch Logs, since April 2025

# Schedules.
SCHEDULE_LATE_S_MAX = 300  # ours; setting `schedules.late_s_max`: AWS makes no missed fire up, and promises the minute
SCHEDULE_CLOCK_BACK_S_MAX = 86_400  # ours: set back by more, the clock was wrong before, and schedules follow it
SCHEDULE_FIRES_PER_COMMIT_MAX = 100  # ours
SCHEDULES_SHOWN_MAX = 1000  # ours: in one answer of `/_hub/v1/schedules`
SCHEDULE_TIMES_SHOWN_MAX = 100  # ours: of one schedule

# CloudWatch Logs Insights over the simulated log groups.
INSIGHTS_QUERIES_MAX = 100  # AWS, an account and region at a time: Scheduled and Running
INSIGHTS_WORKERS_MAX = 2  # ours: queries that run at once, each in a process of its own; the others are Scheduled
INSIGHTS_GROUPS_MAX = 50  # AWS, a query
INSIGHTS_EVENTS_MAX = 1_000_000  # ours: that the log groups of a query may hold
INSIGHTS_BYTES_MAX = 512 * 1024**2  # ours: of the events in a query's range of time
INSIGHTS_RESULT_BYTES_MAX = 32 * 1024**2  # ours: of a query's results
INSIGHTS_KEPT_BYTES_MAX = 64 * 1024**2  # ours: of all results that are kept; the oldest go first
INSIGHTS_KEPT_MAX = 1000  # ours: ended queries that are kept
INSIGHTS_KEPT_S_MAX = 3600  # ours; AWS keeps results for seven days
INSIGHTS_MEMORY_BYTES_MAX = 1024**3  # ours: that DuckDB may use for a query
INSIGHTS_TIMEOUT_S = 60.0  # ours; AWS's is an hour
INSIGHTS_PAGE_ITEMS_MAX = 10_000  # AWS: GetQueryResults

# Rule tables.
MERGE_DELAY_S = 0.2  # ours: a changed rule table is merged after this time, with the changes that came meanwhile
MERGE_SHARE_MIN = 0.05  # ours: of the event loop's time, while so many changes as the next line says wait to be merged
MERGE_CHANGES_UNHURRIED = 100  # ours: with more of them the share grows in proportion; each costs the next one its copy
MERGE_SHARE_MAX = 0.5  # ours

# Explaining (`/_hub/v1/explain`).
EXPLAINED_EVENT_CHARS_MAX = 1024 * 1024 + 8192  # ours: the largest event with its envelope
EXPLAINED_RULES_MAX = 10_000  # ours: of a bus with more rules, the first by name are looked at

# Templates and stacks ("cloudformation-limits").
TEMPLATE_BYTES_MAX = 1024 * 1024  # a template in an S3 bucket
TEMPLATE_VALUES_MAX = 100_000  # ours: with every alias counted
TEMPLATE_DEPTH_MAX = 100  # ours
TEMPLATE_PARAMETERS_MAX = 200
TEMPLATE_MAPPINGS_MAX = 200
TEMPLATE_RESOURCES_MAX = 500
TEMPLATE_OUTPUTS_MAX = 200
STACKS_PER_LOCATION_MAX = 2000
STACK_RECORD_BYTES_MAX = 3 * 1024 * 1024  # ours: below what a request may have

# Metrics.
RULE_SERIES_MAX = 500  # ours: rules beyond it are counted under `other`
AGED_LANES_MAX = 200  # ours: targets that are looked at for their oldest delivery when Prometheus asks
AGED_ROWS_MAX = 2000  # ours: deliveries of all of them; together a few milliseconds of the event loop
SQS_SOURCE_LOG_INTERVAL_S = 60.0  # ours: messages that cannot be taken are shown once a minute
