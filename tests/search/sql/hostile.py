"""Statements that a stranger might send: what must never read, write, reach or linger."""

from __future__ import annotations

import itertools

READERS = (
    "read_text", "read_blob", "read_csv", "read_csv_auto", "read_json", "read_json_auto",
    "read_json_objects", "read_ndjson", "read_ndjson_auto", "read_ndjson_objects",
    "read_parquet", "parquet_scan", "parquet_metadata", "parquet_schema",
    "parquet_file_metadata", "parquet_kv_metadata", "sniff_csv", "glob", "read_duckdb",
    "delta_scan", "iceberg_scan", "sqlite_scan", "st_read", "read_xlsx", "arrow_scan",
)  # fmt: skip

WRITES = (
    "copy (select 1) to '{canary}'", "copy titles to '{root}/stolen.parquet'",
    "copy (select 1) to '/dev/stdout'", "copy (select 1) to program 'id'",
    "copy titles from '{canary}'", "copy (select * from titles) to '{root}/x.csv' (header)",
    "export database '{root}/out'", "import database '{root}'",
    "attach '{root}/new.db'", "attach '{canary}' as c (read_only)", "attach ':memory:' as m",
    "attach 'http://127.0.0.1:{port}/x.db'", "detach memory", "use memory",
    "create table t as select 1", "create temp table t (a int)", "create or replace view titles"
    " as select 1", "create macro similar(a, k) as 1", "create function f(a) as a",
    "create schema s", "create type e as enum ('a')", "create sequence q",
    "create index i on titles (name)", "create secret s (type s3, key_id 'a', secret 'b')",
    "create persistent secret s (type http)", "drop view titles", "drop view if exists pictures",
    "drop schema main cascade", "alter view titles rename to t", "alter table titles add column a"
    " int", "insert into titles values (1)", "insert into titles select * from titles",
    "update titles set name = 'x'", "delete from titles", "truncate titles",
    "merge into titles using pictures on true when matched then delete",
    "comment on view titles is 'x'", "vacuum", "analyze", "checkpoint", "force checkpoint",
    "begin", "begin; drop view titles; commit", "commit", "rollback", "prepare p as select 1",
    "execute p", "deallocate p", "call pragma_version()", "call force_checkpoint()",
    "call enable_logging()", "call enable_profiling()", "explain analyze copy titles to 'x'",
    "explain copy titles to 'x'", "explain select * from read_text('{canary}')",
    "pivot titles on platform", "set variable a = 1", "reset all",
)  # fmt: skip

SETTINGS = (
    "enable_external_access = true", "lock_configuration = false", "allowed_paths = ['/']",
    "allowed_directories = ['/']", "memory_limit = '64GB'", "threads = 64",
    "temp_directory = '/tmp'", "max_temp_directory_size = '90GB'", "home_directory = '/root'",
    "secret_directory = '{root}'", "extension_directory = '{root}'",
    "custom_extension_repository = 'http://127.0.0.1:{port}'",
    "autoinstall_known_extensions = true", "autoload_known_extensions = true",
    "allow_unsigned_extensions = true", "allow_community_extensions = true",
    "disabled_filesystems = ''", "log_query_path = '{root}/log'", "logging_storage = 'file'",
    "profile_output = '{root}/p'", "enable_profiling = 'json'", "search_path = 'main'",
    "python_enable_replacements = true", "python_scan_all_frames = true",
    "http_proxy = '127.0.0.1:{port}'", "access_mode = 'read_write'", "timezone = 'Asia/Seoul'",
    "enable_object_cache = true", "checkpoint_threshold = '1KB'", "allocator_flush_threshold = 1",
)  # fmt: skip

EXTENSIONS = (
    "install httpfs", "load httpfs", "force install httpfs", "install spatial from community",
    "install x from 'http://127.0.0.1:{port}'", "load '{canary}'", "load '/tmp/evil.so'",
    "install sqlite_scanner", "load sqlite_scanner", "update extensions", "install '{canary}'",
)  # fmt: skip

SCANS = (
    "from '{canary}'", "from '{canary}.csv'", "from '/etc/passwd'", "from '/proc/self/environ'",
    "from 'x.parquet'", "from '*.parquet'", "from '{root}/**'", "from '../lock'",
    "from 'http://127.0.0.1:{port}/a.csv'", "from 'https://127.0.0.1:{port}/a.parquet'",
    "from 's3://bucket/a.parquet'", "from 'hf://datasets/a/b.parquet'", "from 'gs://a/b.csv'",
    "from 'file:{canary}'", "from 'file://localhost{canary}'", 'from "{canary}"',
    "from './../../{canary}'", "select * from (from '{canary}')",
    "with a as (from '{canary}.csv') from a", "select (from '{canary}.csv')",
    "select * from titles join '{canary}.csv' on true", "from worker", "from vectors_", "from self",
    "from sys", "from globals", "from os",
)  # fmt: skip

INSIDE = (
    "from duckdb_secrets()", "from which_secret('s3://a', 's3')", "from duckdb_settings()",
    "from duckdb_extensions()", "from duckdb_databases()", "from duckdb_views()",
    "from duckdb_temporary_files()", "from duckdb_memory()", "from duckdb_logs",
    "from duckdb_logs()", "from duckdb_functions()", "from pragma_database_size()",
    "from pragma_storage_info('titles')", "from pragma_platform()", "from pragma_user_agent()",
    "from information_schema.views", "from pg_catalog.pg_settings", "from sqlite_master",
    "from duckdb_tables", "from system.information_schema.tables", "show databases",
    "pragma database_list", "pragma enable_checkpoint_on_shutdown", "pragma version",
    "select current_setting('allowed_paths')", "select current_setting('temp_directory')",
    "select getenv('HOME')", "select getenv('PATH')", "select write_log('x')",
    "from query('copy titles to ''{canary}''')", "from query_table('titles')",
    "from query_table(['titles', 'pictures'])", "select query('select 1')",
    "from duckdb_approx_database_count()", "from test_all_types()", "from checkpoint()",
    "from force_checkpoint()", "from enable_logging()", "from truncate_duckdb_logs()",
    "from seq_scan('titles')", "from repeat_row(1, num_rows = 1000000000000)",
)  # fmt: skip

HOGS = (
    "select count(*) from range(100000000000) a", "select sum(a.range * b.range) from"
    " range(100000000) a, range(100000000) b", "select count(*) from pictures a, pictures b,"
    " pictures c, pictures d, pictures e, pictures f, pictures g, pictures h",
    "with recursive r as (select 1 as n union all select n + 1 from r) select max(n) from r",
    "with recursive r as (select 'x' as n union all select n || n from r) select length(max(n))"
    " from r", "select repeat('x', 4000000000)", "select repeat(repeat('x', 100000), 100000)",
    "select list(range) from range(2000000000)", "select range(2000000000)",
    "select array_agg(repeat('x', 100000)) from range(10000000)",
    "select string_agg(repeat('abc', 1000), ',') from range(100000000)",
    "select * from range(1000000000)", "select unnest(range(1000000000))",
    "select lpad('x', 2000000000, 'y')", "select * from range(100000000) order by random()",
    "select distinct range || 'x' from range(500000000)",
    "select count(distinct random()) from range(1000000000)",
    "select list_transform(range(100000000), lambda x: repeat('a', 1000))",
    "select regexp_matches(repeat('a', 1000000), '(a*)*b')",
    "select repeat('a', 5000000) like repeat('%a', 5000) || 'b'",
    "select levenshtein(repeat('a', 1000000), repeat('b', 1000000))",
    "select factorial(170) ** 100", "select 2 ** 1000000", "select 1 << 100000",
    "select list_sort(range(300000000))", "select map_from_entries(range(100000000))",
    "select histogram(range) from range(1000000000)", "select max(sin(range)) from"
    " range(100000000000)", "select quantile(range, 0.5) from range(2000000000)",
    "select count(*) from similar_titles('x', 20), range(100000000000)",
    "select generate_series(1, 5000000000)", "from generate_series(1, 100000000000)",
    "select bit_count(repeat('1', 2000000000)::bit)", "select md5(repeat('x', 3000000000))",
    "select json_array(range(100000000))", "select mode(range) from range(4000000000)",
)  # fmt: skip

FUNCTIONS = (
    "from similar('{canary}', 5)", "from similar('/etc/passwd', 5)", "from similar('-', 5)",
    "from similar('http://127.0.0.1:{port}/a.png', 5)", "from similar('x', -1)",
    "from similar('x', 0)", "from similar('x', 9223372036854775807)", "from similar('', 5)",
    "from similar(repeat('x', 10000000), 5)", "from similar_titles(repeat('x', 10000000), 5)",
    "from similar_titles('x'' or 1=1 --', 5)", "from similar('x'' union select 1 --', 5)",
    "from similar(chr(0), 5)", "select similar_pictures_list('{canary}', 5)",
    "select similar_titles_list(null, null)", "select similar_pictures_list('x', -5)",
    "select mean_of_vectors([[1], [1, 2]])", "select mean_of_vectors(null)",
    "select mean_of_vectors([[]])", "select mean_vector([null, [1.0]])", "select cosine([1], [1,"
    " 2])", "select cosine([], [])", "from similar((select sql from duckdb_views() limit 1), 5)",
)  # fmt: skip

ODD = (
    "", ";", ";;;", "--", "/*", "'", '"', "$$", "$$x$$", "select 1; drop view titles",
    "select 1;;copy titles to 'x'", "select 1/*;*/;select 2", "\x00", "select '\x00'",
    "select 1 --",
    "sel\u200bect 1", "\u202eselect 1", "ｓｅｌｅｃｔ 1", "select " + "(" * 3000 + "1" + ")" * 3000,
    "select " + "-" * 8000 + "1", "select " + "not " * 4000 + "true", "select [" * 2000,
    "select " + "case when true then " * 1500 + "1", "select " + "a." * 3000 + "b",
    "select 1" + " union all select 1" * 900, "with " + ", ".join(f"c{n} as (select 1)" for n in
    range(600)) + " select 1", "select * from titles " + "natural join titles " * 60,
    "select 99999999999999999999999999999999999999999999", "select 'x'::int", "select 1 / 0",
    "select cast('9999-99-99' as date)", "select {port}::blob", "select $1", "select $missing",
    "select ?", "select * from titles where name = $name", "\\copy titles to 'x'", ".read x",
    ".shell id", "!id", "%sql select 1", "import os", "__import__('os').system('id')",
    "describe read_text('{canary}')", "summarize from '{canary}'", "show '{canary}'",
    "select error('x')", "select * from titles limit 'x'", "select columns('(a*)*b') from titles",
    "select * replace (1 as name) from titles, read_blob('{canary}')", "table '{canary}'",
    "values ((select content from read_text('{canary}')))", "select 1 from titles tablesample"
    " 1000000000 rows", "from titles positional join '{canary}'", "select * from titles at"
    " (version => 1)", "select x'00' || content from read_blob('{canary}')",
)  # fmt: skip


def statements(canary: str, root: str, port: int) -> list[str]:
    """Every hostile statement, aimed at a secret file, the data root and a listening port."""
    targets = (
        canary, f"{root}/lock", "/proc/self/environ", f"http://127.0.0.1:{port}/x",
        "/tables/pictures/*.parquet",
    )  # fmt: skip
    reads = [f"select * from {f}('{t}')" for f, t in itertools.product(READERS, targets)]
    told = [f"set {s}" for s in SETTINGS] + [f"pragma {s}" for s in SETTINGS[:8]]
    told += [f"reset {s.split()[0]}" for s in SETTINGS[:8]] + [f"set global {SETTINGS[0]}"]
    others = (*WRITES, *told, *EXTENSIONS, *SCANS, *INSIDE, *HOGS, *FUNCTIONS, *ODD)
    filled = [
        text.replace("{canary}", canary).replace("{root}", root).replace("{port}", str(port))
        for text in others
    ]
    return [*reads, *filled]
