-- What other sessions do, the plan cache and Extended Events. The engine keeps these facts; it publishes them as JSON in the
-- setting standin.facts of a session right before that session's statement asks for them.

CREATE FUNCTION sys_meta.facts(kind text) RETURNS SETOF jsonb LANGUAGE sql STABLE AS $$
SELECT jsonb_array_elements(nullif(current_setting('standin.facts', true), '')::jsonb -> kind)
$$;

CREATE FUNCTION sys_meta.bytes(hex text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT decode(hex, 'hex') $$;

CREATE VIEW sys.dm_exec_sessions AS
SELECT (f ->> 'session_id')::int2 AS session_id, (f ->> 'login_time')::timestamp AS login_time, (f ->> 'host_name')::sys.text_ci AS host_name,
       (f ->> 'program_name')::sys.text_ci AS program_name, (f ->> 'host_process_id')::int4 AS host_process_id, 7 AS client_version,
       (f ->> 'client_interface_name')::sys.text_ci AS client_interface_name, '\x01'::bytea AS security_id,
       (f ->> 'login_name')::sys.text_ci AS login_name, (f ->> 'status')::sys.text_ci AS status,
       sys_meta.bytes(f ->> 'context_info') AS context_info, (f ->> 'cpu_time')::int4 AS cpu_time, 4 AS memory_usage,
       0 AS total_scheduled_time, (f ->> 'total_elapsed_time')::int4 AS total_elapsed_time, 0 AS endpoint_id,
       (f ->> 'last_request_start_time')::timestamp AS last_request_start_time, (f ->> 'last_request_end_time')::timestamp AS last_request_end_time,
       0::int8 AS reads, 0::int8 AS writes, 0::int8 AS logical_reads, true AS is_user_process, (f ->> 'text_size')::int4 AS text_size,
       (f ->> 'language')::sys.text_ci AS language, (f ->> 'date_format')::sys.text_ci AS date_format, (f ->> 'date_first')::int2 AS date_first,
       true AS quoted_identifier, (f -> 'arithabort')::bool AS arithabort, true AS ansi_null_dflt_on, false AS ansi_defaults,
       true AS ansi_warnings, true AS ansi_padding, true AS ansi_nulls, true AS concat_null_yields_null,
       (f ->> 'transaction_isolation_level')::int2 AS transaction_isolation_level, (f ->> 'lock_timeout')::int4 AS lock_timeout,
       (f ->> 'deadlock_priority')::int4 AS deadlock_priority, (f ->> 'row_count')::int8 AS row_count, (f ->> 'prev_error')::int4 AS prev_error,
       (f ->> 'login_name')::sys.text_ci AS original_login_name, (f ->> 'database_id')::int2 AS database_id,
       (f ->> 'database_id')::int2 AS authenticating_database_id, (f ->> 'open_transaction_count')::int4 AS open_transaction_count, 1 AS group_id
  FROM sys_meta.facts('sessions') f;

CREATE VIEW sys.dm_exec_connections AS
SELECT (f ->> 'session_id')::int4 AS session_id, (f ->> 'session_id')::int4 AS most_recent_session_id, (f ->> 'login_time')::timestamp AS connect_time,
       'TCP'::sys.text_ci AS net_transport, 'TSQL'::sys.text_ci AS protocol_type, 1946157060 AS protocol_version,
       (f ->> 'encrypt_option')::sys.text_ci AS encrypt_option, 'SQL'::sys.text_ci AS auth_scheme, 4096 AS net_packet_size,
       (f ->> 'client_net_address')::sys.text_ci AS client_net_address, '127.0.0.1'::sys.text_ci AS local_net_address,
       (f ->> 'last_request_start_time')::timestamp AS last_read, (f ->> 'last_request_end_time')::timestamp AS last_write,
       sys_meta.bytes(f ->> 'sql_handle') AS most_recent_sql_handle
  FROM sys_meta.facts('sessions') f;

CREATE VIEW sys.dm_exec_requests AS
SELECT (f ->> 'session_id')::int2 AS session_id, 0 AS request_id, (f ->> 'last_request_start_time')::timestamp AS start_time,
       (CASE WHEN a.blockers > '{}' THEN 'suspended' ELSE 'running' END)::sys.text_ci AS status, (f ->> 'command')::sys.text_ci AS command,
       sys_meta.bytes(f ->> 'sql_handle') AS sql_handle, (f ->> 'statement_start_offset')::int4 AS statement_start_offset,
       (f ->> 'statement_end_offset')::int4 AS statement_end_offset, sys_meta.bytes(f ->> 'plan_handle') AS plan_handle,
       (f ->> 'database_id')::int2 AS database_id, 1 AS user_id, NULL::uuid AS connection_id,
       coalesce((SELECT (o ->> 'session_id')::int2 FROM sys_meta.facts('sessions') o WHERE (o ->> 'backend_pid')::int4 = ANY (a.blockers) LIMIT 1), 0::int2)
           AS blocking_session_id,
       CASE WHEN a.blockers > '{}' THEN 'LCK_M_X'::sys.text_ci END AS wait_type,
       CASE WHEN a.blockers > '{}' THEN (extract(epoch FROM clock_timestamp() - a.query_start) * 1000)::int4 ELSE 0 END AS wait_time,
       (CASE WHEN a.blockers > '{}' THEN 'LCK_M_X' ELSE '' END)::sys.text_ci AS last_wait_type, ''::sys.text_ci AS wait_resource,
       (f ->> 'open_transaction_count')::int4 AS open_transaction_count, 1 AS open_resultset_count, (f ->> 'transaction_id')::int8 AS transaction_id,
       sys_meta.bytes(f ->> 'context_info') AS context_info, 0::real AS percent_complete, 0 AS cpu_time, (f ->> 'request_elapsed')::int4 AS total_elapsed_time,
       0::int8 AS reads, 0::int8 AS writes, 0::int8 AS logical_reads, (f ->> 'row_count')::int8 AS row_count,
       (f ->> 'transaction_isolation_level')::int2 AS transaction_isolation_level, (f ->> 'lock_timeout')::int4 AS lock_timeout,
       (f ->> 'deadlock_priority')::int4 AS deadlock_priority, 0 AS nest_level
  FROM sys_meta.facts('sessions') f
  CROSS JOIN LATERAL (SELECT p.query_start, pg_blocking_pids(p.pid) AS blockers FROM pg_stat_activity p WHERE p.pid = (f ->> 'backend_pid')::int4) a
 WHERE (f -> 'running')::bool;

CREATE VIEW sys.sysprocesses AS
SELECT s.session_id AS spid, coalesce(r.blocking_session_id, 0::int2) AS blocked, s.database_id AS dbid, s.login_name AS loginame,
       s.host_name AS hostname, s.program_name, s.status, s.open_transaction_count::int2 AS open_tran, s.login_time,
       coalesce(r.wait_type, ''::sys.text_ci) AS lastwaittype
  FROM sys.dm_exec_sessions s LEFT JOIN sys.dm_exec_requests r ON r.session_id = s.session_id;

CREATE VIEW sys.dm_tran_locks AS
SELECT (CASE l.locktype WHEN 'relation' THEN 'OBJECT' WHEN 'tuple' THEN 'KEY' WHEN 'transactionid' THEN 'KEY' ELSE upper(l.locktype) END)::sys.text_ci AS resource_type,
       (f ->> 'database_id')::int4 AS resource_database_id, coalesce(l.relation::int8, 0) AS resource_associated_entity_id,
       (CASE l.mode WHEN 'AccessShareLock' THEN 'IS' WHEN 'RowShareLock' THEN 'IU' WHEN 'RowExclusiveLock' THEN 'IX' WHEN 'ShareLock' THEN 'S' ELSE 'X' END)::sys.text_ci AS request_mode,
       (CASE WHEN l.granted THEN 'GRANT' ELSE 'WAIT' END)::sys.text_ci AS request_status, (f ->> 'session_id')::int4 AS request_session_id,
       'LOCK'::sys.text_ci AS request_type
  FROM pg_locks l JOIN sys_meta.facts('sessions') f ON (f ->> 'backend_pid')::int4 = l.pid
 WHERE l.locktype IN ('relation', 'tuple', 'transactionid')
   AND (l.relation IS NULL OR EXISTS (SELECT 1 FROM sys_meta.user_tables t WHERE t.object_id = l.relation::int4));

CREATE VIEW sys.dm_os_sys_info AS
SELECT (current_setting('standin.facts', true)::jsonb ->> 'started')::timestamp AS sqlserver_start_time, 2 AS cpu_count, 0::int8 AS ms_ticks;

-- The plan cache -------------------------------------------------------------------------------------------

CREATE VIEW sys.dm_exec_query_stats AS
SELECT sys_meta.bytes(f ->> 'sql_handle') AS sql_handle, (f ->> 'statement_start_offset')::int4 AS statement_start_offset,
       (f ->> 'statement_end_offset')::int4 AS statement_end_offset, 1::int8 AS plan_generation_num, sys_meta.bytes(f ->> 'plan_handle') AS plan_handle,
       (f ->> 'creation_time')::timestamp AS creation_time, (f ->> 'last_execution_time')::timestamp AS last_execution_time,
       (f ->> 'execution_count')::int8 AS execution_count,
       (f ->> 'total_elapsed_time')::int8 AS total_worker_time, (f ->> 'last_elapsed_time')::int8 AS last_worker_time,
       (f ->> 'min_elapsed_time')::int8 AS min_worker_time, (f ->> 'max_elapsed_time')::int8 AS max_worker_time,
       (f ->> 'total_elapsed_time')::int8 AS total_elapsed_time, (f ->> 'last_elapsed_time')::int8 AS last_elapsed_time,
       (f ->> 'min_elapsed_time')::int8 AS min_elapsed_time, (f ->> 'max_elapsed_time')::int8 AS max_elapsed_time,
       0::int8 AS total_physical_reads, 0::int8 AS total_logical_reads, 0::int8 AS last_logical_reads, 0::int8 AS total_logical_writes,
       (f ->> 'total_rows')::int8 AS total_rows, (f ->> 'last_rows')::int8 AS last_rows,
       sys_meta.bytes(f ->> 'query_hash') AS query_hash, sys_meta.bytes(f ->> 'query_hash') AS query_plan_hash
  FROM sys_meta.facts('queries') f;

CREATE VIEW sys.dm_exec_cached_plans AS
SELECT 0 AS bucketid, 1 AS refcounts, (f ->> 'execution_count')::int4 AS usecounts, 16384 AS size_in_bytes, 'Compiled Plan'::sys.text_ci AS cacheobjtype,
       (CASE WHEN f ->> 'text' LIKE '(@%' THEN 'Prepared' ELSE 'Adhoc' END)::sys.text_ci AS objtype, sys_meta.bytes(f ->> 'plan_handle') AS plan_handle
  FROM sys_meta.facts('queries') f;

CREATE FUNCTION sys.dm_exec_sql_text(handle bytea)
RETURNS TABLE (dbid smallint, objectid integer, number smallint, encrypted boolean, text sys.text_ci) LANGUAGE sql STABLE AS $$
SELECT (f ->> 'database_id')::int2, NULL::int4, NULL::int2, false, (f ->> 'text')::sys.text_ci
  FROM (SELECT f FROM sys_meta.facts('queries') f UNION ALL SELECT f FROM sys_meta.facts('sessions') f WHERE f ? 'text') q
 WHERE encode(handle, 'hex') IN (f ->> 'sql_handle', f ->> 'plan_handle')
 LIMIT 1
$$;

CREATE FUNCTION sys.dm_exec_input_buffer(session smallint, request integer)
RETURNS TABLE (event_type sys.text_ci, parameters smallint, event_info sys.text_ci) LANGUAGE sql STABLE AS $$
SELECT 'Language Event'::sys.text_ci, 0::int2, (f ->> 'text')::sys.text_ci FROM sys_meta.facts('sessions') f
 WHERE (f ->> 'session_id')::int2 = session
$$;

CREATE FUNCTION sys.dm_exec_query_plan(handle bytea)
RETURNS TABLE (dbid smallint, objectid integer, number smallint, encrypted boolean, query_plan text) LANGUAGE sql STABLE AS $$
SELECT (f ->> 'database_id')::int2, NULL::int4, NULL::int2, false, f ->> 'plan' FROM sys_meta.facts('queries') f
 WHERE f ->> 'plan_handle' = encode(handle, 'hex') LIMIT 1
$$;

CREATE FUNCTION sys.dm_exec_text_query_plan(handle bytea, statement_start integer, statement_end integer)
RETURNS TABLE (dbid smallint, objectid integer, number smallint, encrypted boolean, query_plan sys.text_ci) LANGUAGE sql STABLE AS $$
SELECT dbid, objectid, number, encrypted, query_plan::sys.text_ci FROM sys.dm_exec_query_plan(handle)
$$;

CREATE FUNCTION sys.dm_exec_query_plan_stats(handle bytea)
RETURNS TABLE (dbid smallint, objectid integer, number smallint, encrypted boolean, query_plan text) LANGUAGE sql STABLE AS $$
SELECT (f ->> 'database_id')::int2, NULL::int4, NULL::int2, false, f ->> 'last_plan' FROM sys_meta.facts('queries') f
 WHERE f ->> 'plan_handle' = encode(handle, 'hex') LIMIT 1
$$;

-- Query Store ----------------------------------------------------------------------------------------------

CREATE VIEW sys.database_query_store_options AS
SELECT (CASE WHEN d.is_query_store_on THEN 2 ELSE 0 END)::int2 AS desired_state,
       (CASE WHEN d.is_query_store_on THEN 'READ_WRITE' ELSE 'OFF' END)::sys.text_ci AS desired_state_desc,
       (CASE WHEN d.is_query_store_on THEN 2 ELSE 0 END)::int2 AS actual_state,
       (CASE WHEN d.is_query_store_on THEN 'READ_WRITE' ELSE 'OFF' END)::sys.text_ci AS actual_state_desc,
       0 AS readonly_reason, 1000::int8 AS max_storage_size_mb, 1::int8 AS current_storage_size_mb, 'AUTO'::sys.text_ci AS query_capture_mode_desc
  FROM sys.databases d WHERE d.name = sys_meta.catalog();

CREATE VIEW sys.query_store_query_text AS
SELECT (f ->> 'id')::int8 AS query_text_id, f ->> 'statement' AS query_sql_text, sys_meta.bytes(f ->> 'sql_handle') AS statement_sql_handle
  FROM sys_meta.facts('queries') f WHERE f ->> 'database' = current_setting('standin.database');

CREATE VIEW sys.query_store_query AS
SELECT (f ->> 'id')::int8 AS query_id, (f ->> 'id')::int8 AS query_text_id, sys_meta.bytes(f ->> 'query_hash') AS query_hash,
       sys_meta.bytes(f ->> 'sql_handle') AS last_compile_batch_sql_handle, 0::int8 AS object_id,
       (f ->> 'last_execution_time')::timestamp AS last_execution_time, (f ->> 'execution_count')::int8 AS count_compiles
  FROM sys_meta.facts('queries') f WHERE f ->> 'database' = current_setting('standin.database');

CREATE VIEW sys.query_store_plan AS
SELECT (f ->> 'id')::int8 AS plan_id, (f ->> 'id')::int8 AS query_id, f ->> 'plan' AS query_plan, sys_meta.bytes(f ->> 'query_hash') AS query_plan_hash,
       false AS is_forced_plan, (f ->> 'last_execution_time')::timestamp AS last_execution_time, (f ->> 'execution_count')::int8 AS count_compiles
  FROM sys_meta.facts('queries') f WHERE f ->> 'database' = current_setting('standin.database');

CREATE VIEW sys.query_store_runtime_stats AS
SELECT (f ->> 'id')::int8 AS runtime_stats_id, (f ->> 'id')::int8 AS plan_id, 1::int8 AS runtime_stats_interval_id, 0::int2 AS execution_type,
       'Regular'::sys.text_ci AS execution_type_desc, (f ->> 'creation_time')::timestamp AS first_execution_time,
       (f ->> 'last_execution_time')::timestamp AS last_execution_time, (f ->> 'execution_count')::int8 AS count_executions,
       (f ->> 'total_elapsed_time')::float8 / greatest((f ->> 'execution_count')::float8, 1) AS avg_duration,
       (f ->> 'last_elapsed_time')::int8 AS last_duration, (f ->> 'min_elapsed_time')::int8 AS min_duration, (f ->> 'max_elapsed_time')::int8 AS max_duration,
       (f ->> 'total_rows')::float8 / greatest((f ->> 'execution_count')::float8, 1) AS avg_rowcount
  FROM sys_meta.facts('queries') f WHERE f ->> 'database' = current_setting('standin.database');

-- Extended Events: system_health with its deadlock reports -------------------------------------------------

CREATE VIEW sys.dm_xe_sessions AS
SELECT '\x0000000000000001'::bytea AS address, 'system_health'::sys.text_ci AS name, 0 AS pending_buffers,
       (current_setting('standin.facts', true)::jsonb ->> 'started')::timestamp AS create_time;

CREATE VIEW sys.dm_xe_session_targets AS
SELECT '\x0000000000000001'::bytea AS event_session_address, 'ring_buffer'::sys.text_ci AS target_name, 1::int8 AS execution_count,
       '<RingBufferTarget truncated="0" processingTime="0" totalEventsProcessed="' || count(*) || '" eventCount="' || count(*)
       || '" droppedCount="0" memoryUsed="' || coalesce(sum(octet_length(f ->> 'xml')), 0) || '">'
       || coalesce(string_agg(f ->> 'xml', '' ORDER BY f ->> 'time'), '') || '</RingBufferTarget>' AS target_data
  FROM sys_meta.facts('deadlocks') f
UNION ALL
SELECT '\x0000000000000001'::bytea, 'event_file', 1::int8, '<EventFileTarget truncated="0"><File name="system_health_0_1.xel"/></EventFileTarget>';

CREATE VIEW sys.dm_xe_database_sessions AS SELECT * FROM sys.dm_xe_sessions WHERE false;
CREATE VIEW sys.dm_xe_database_session_targets AS SELECT * FROM sys.dm_xe_session_targets WHERE false;

CREATE VIEW sys.server_event_sessions AS SELECT 65536 AS event_session_id, 'system_health'::sys.text_ci AS name, true AS startup_state;

CREATE FUNCTION sys.fn_xe_file_target_read_file(path sys.text_ci, mdpath sys.text_ci, initial_file_name sys.text_ci, initial_offset bigint)
RETURNS TABLE (module_guid uuid, package_guid uuid, object_name sys.text_ci, event_data sys.text_ci, file_name sys.text_ci, file_offset bigint, timestamp_utc timestamp)
LANGUAGE sql STABLE AS $$
SELECT 'ce79811f-1a80-40e1-8f5d-7445a3f375e7'::uuid, '655fd93f-3364-40d5-b2ba-330f7ffb6491'::uuid, 'xml_deadlock_report'::sys.text_ci,
       (f ->> 'xml')::sys.text_ci, 'system_health_0_1.xel'::sys.text_ci, 0::int8, (f ->> 'time')::timestamp
  FROM sys_meta.facts('deadlocks') f WHERE path::text ILIKE 'system_health%'
$$;
