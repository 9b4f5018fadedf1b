-- Dates and times.

-- datetime counts 1/300 s; smalldatetime counts minutes.
CREATE FUNCTION sys.round_datetime(value timestamp) RETURNS timestamp
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    whole timestamp := date_trunc('second', value);
    ticks int := round(extract(microsecond FROM value - whole)::numeric * 3 / 10000)::int;
BEGIN
    IF value < '1753-01-01' THEN
        PERFORM sys.throw(242, 'The conversion of a datetime2 data type to a datetime data type resulted in an out-of-range value.');
    END IF;
    RETURN whole + (round(ticks * 10::numeric / 3)::int || ' milliseconds')::interval;
END $$;

CREATE FUNCTION sys.round_smalldatetime(value timestamp) RETURNS timestamp
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF value < '1900-01-01' OR value >= '2079-06-06 23:59:30' THEN
        PERFORM sys.throw(242, 'The conversion of a datetime2 data type to a smalldatetime data type resulted in an out-of-range value.');
    END IF;
    RETURN date_trunc('minute', value + interval '30.001 seconds' - interval '1 millisecond');
END $$;

CREATE FUNCTION sys.days_to_datetime(days float8) RETURNS timestamp
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN timestamp '1900-01-01' + make_interval(days => floor(days)::int, secs => (days - floor(days)) * 86400);

CREATE FUNCTION sys.datetime_to_days(value timestamp) RETURNS float8
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (extract(epoch FROM value - timestamp '1900-01-01') / 86400)::float8;

CREATE FUNCTION sys.local_time(value sys.datetimeoffset) RETURNS timestamp
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (value).utc + make_interval(mins => (value).minutes);

CREATE FUNCTION sys.to_offset(local timestamp, minutes int) RETURNS sys.datetimeoffset
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF abs(minutes) > 840 THEN
        PERFORM sys.throw(9812, 'The timezone provided to builtin function todatetimeoffset is invalid.');
    END IF;
    RETURN ROW(local - make_interval(mins => minutes), minutes::smallint)::sys.datetimeoffset;
END $$;

CREATE FUNCTION sys.switch_offset(value sys.datetimeoffset, minutes int) RETURNS sys.datetimeoffset
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF abs(minutes) > 840 THEN
        PERFORM sys.throw(9812, 'The timezone provided to builtin function switchoffset is invalid.');
    END IF;
    RETURN ROW((value).utc, minutes::smallint)::sys.datetimeoffset;
END $$;

CREATE FUNCTION sys.with_local_time(value sys.datetimeoffset, local timestamp) RETURNS sys.datetimeoffset
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN ROW(local - make_interval(mins => (value).minutes), (value).minutes)::sys.datetimeoffset;

CREATE FUNCTION sys.round_offset(value sys.datetimeoffset, scale int) RETURNS sys.datetimeoffset
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    whole timestamp := date_trunc('second', (value).utc);
    rest numeric := extract(epoch FROM (value).utc - whole);
BEGIN
    RETURN ROW(whole + make_interval(secs => round(rest, scale)::float8), (value).minutes)::sys.datetimeoffset;
END $$;

CREATE FUNCTION sys.offset_text(minutes int) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN minutes < 0 THEN '-' ELSE '+' END || lpad((abs(minutes) / 60)::text, 2, '0') || ':' || lpad((abs(minutes) % 60)::text, 2, '0');

CREATE FUNCTION sys.offset_minutes(value text) RETURNS int
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE parts text[] := regexp_match(btrim(value), '^([+-])(\d\d?):(\d\d)$');
BEGIN
    IF parts IS NULL THEN
        PERFORM sys.throw(9812, 'The timezone provided to builtin function switchoffset is invalid.');
    END IF;
    RETURN (parts[1] || '1')::int * (parts[2]::int * 60 + parts[3]::int);
END $$;

-- AT TIME ZONE: a wall clock time gets the zone's offset; a moment is shown on the zone's clock.
CREATE FUNCTION sys.zone_name(zone text) RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
DECLARE found text;
BEGIN
    SELECT iana INTO found FROM sys.windows_zones WHERE windows = lower(zone);
    IF found IS NULL THEN
        PERFORM sys.throw(9820, 'The time zone parameter ''' || zone || ''' provided to AT TIME ZONE clause is invalid.');
    END IF;
    RETURN found;
END $$;

CREATE FUNCTION sys.at_zone(value sys.datetimeoffset, zone text) RETURNS sys.datetimeoffset
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
DECLARE local timestamp := ((value).utc AT TIME ZONE 'UTC') AT TIME ZONE sys.zone_name(zone);
BEGIN
    RETURN ROW((value).utc, (extract(epoch FROM local - (value).utc) / 60)::smallint)::sys.datetimeoffset;
END $$;

CREATE FUNCTION sys.at_zone(value timestamp, zone text) RETURNS sys.datetimeoffset
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
DECLARE
    name text := sys.zone_name(zone);
    moment timestamptz := value AT TIME ZONE name;
BEGIN
    RETURN ROW(moment AT TIME ZONE 'UTC',
               (extract(epoch FROM (moment AT TIME ZONE name) - (moment AT TIME ZONE 'UTC')) / 60)::smallint)::sys.datetimeoffset;
END $$;

-- Text to dates. `style` as in CONVERT; 0 takes every form that needs no style.
CREATE FUNCTION sys.bad_date(attempt boolean) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT attempt THEN
        PERFORM sys.throw(241, 'Conversion failed when converting date and/or time from character string.');
    END IF;
END $$;

CREATE TYPE sys.read_date AS (local timestamp, minutes int, has_offset boolean, fraction int);

CREATE FUNCTION sys.read_date(value text, style int) RETURNS sys.read_date
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    trimmed text := btrim(value);
    parts text[];
    day_part text := '';
    time_part text;
    zone_part text;
    fraction int := 0;
    minutes int := 0;
    result timestamp;
    months text[] := ARRAY['jan','feb','mar','apr','may','jun','jul','aug','sep','oct','nov','dec'];
    numbers int[];
BEGIN
    IF trimmed = '' THEN RETURN ROW(timestamp '1900-01-01', 0, false, 0)::sys.read_date; END IF;
    -- The time stands at the end: [T]hh:mm[:ss[.fffffff]] [AM|PM] [Z|±hh:mm], or hhAM.
    parts := regexp_match(trimmed,
        '^(.*?)[T ]*(?<![\d:])(\d{1,2}:\d{1,2}(?::\d{1,2}(?:[.:]\d{1,9})?)?\s*(?:[AP]M)?|\d{1,2}\s*[AP]M)\s*(Z|[+-]\d{1,2}:\d{2})?$', 'i');
    IF parts IS NULL THEN
        day_part := trimmed;
    ELSE
        day_part := btrim(parts[1]);
        time_part := parts[2];
        zone_part := parts[3];
        fraction := coalesce(length((regexp_match(time_part, '\d:\d{1,2}:\d{1,2}[.:](\d+)'))[1]), 0);
        time_part := regexp_replace(time_part, '(\d:\d{1,2}:\d{1,2}):(\d+)', '\1.\2');
    END IF;
    IF day_part ~ '^[+-]' OR (parts IS NULL AND day_part ~ ':') THEN RETURN NULL; END IF;
    IF day_part = '' THEN
        result := '1900-01-01';
    ELSIF day_part ~ '^\d{4}-\d{1,2}-\d{1,2}$' OR day_part ~ '^\d{4}[/.]\d{1,2}[/.]\d{1,2}$' THEN
        numbers := string_to_array(translate(day_part, '/.', '--'), '-')::int[];
        result := make_timestamp(numbers[1], numbers[2], numbers[3], 0, 0, 0);
    ELSIF day_part ~ '^\d{8}$' THEN
        result := make_timestamp(left(day_part, 4)::int, substr(day_part, 5, 2)::int, right(day_part, 2)::int, 0, 0, 0);
    ELSIF day_part ~ '^\d{6}$' THEN
        result := make_timestamp(left(day_part, 2)::int + CASE WHEN left(day_part, 2)::int < 50 THEN 2000 ELSE 1900 END,
                                 substr(day_part, 3, 2)::int, right(day_part, 2)::int, 0, 0, 0);
    ELSIF day_part ~ '^\d{4}$' THEN
        result := make_timestamp(day_part::int, 1, 1, 0, 0, 0);
    ELSIF day_part ~ '^\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})$' THEN
        numbers := string_to_array(translate(day_part, '/.', '--'), '-')::int[];
        IF numbers[3] < 100 THEN numbers[3] := numbers[3] + CASE WHEN numbers[3] < 50 THEN 2000 ELSE 1900 END; END IF;
        IF style IN (3, 4, 5, 103, 104, 105, 13, 113) THEN
            result := make_timestamp(numbers[3], numbers[2], numbers[1], 0, 0, 0);
        ELSE
            result := make_timestamp(numbers[3], numbers[1], numbers[2], 0, 0, 0);
        END IF;
    ELSE
        parts := regexp_match(lower(day_part), '^([a-z]{3,9})\.?\s+(\d{1,2}),?\s+(\d{4})$');
        IF parts IS NULL THEN
            parts := regexp_match(lower(day_part), '^(\d{1,2})[ -]+([a-z]{3,9})\.?,?[ -]+(\d{4})$');
            IF parts IS NOT NULL THEN parts := ARRAY[parts[2], parts[1], parts[3]]; END IF;
        END IF;
        IF parts IS NULL OR array_position(months, left(parts[1], 3)) IS NULL THEN RETURN NULL; END IF;
        result := make_timestamp(parts[3]::int, array_position(months, left(parts[1], 3)), parts[2]::int, 0, 0, 0);
    END IF;
    IF time_part IS NOT NULL THEN
        IF time_part ~* '^\d{1,2}\s*[ap]m' THEN time_part := regexp_replace(time_part, '^(\d{1,2})', '\1:00'); END IF;
        IF time_part ~ '^24' OR time_part ~ ':60' THEN RETURN NULL; END IF;
        result := result + time_part::time::interval;
    END IF;
    IF zone_part IS NOT NULL AND upper(zone_part) <> 'Z' THEN
        minutes := sys.offset_minutes(zone_part);
        IF abs(minutes) > 840 THEN RETURN NULL; END IF;
    END IF;
    IF extract(year FROM result) NOT BETWEEN 1 AND 9999 THEN RETURN NULL; END IF;
    RETURN ROW(result, minutes, zone_part IS NOT NULL, fraction)::sys.read_date;
EXCEPTION WHEN datetime_field_overflow OR invalid_datetime_format OR numeric_value_out_of_range THEN
    RETURN NULL;
END $$;

CREATE FUNCTION sys.text_to_timestamp(value text, style int, source text, target text, attempt boolean) RETURNS timestamp
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE read sys.read_date;
BEGIN
    -- The form that programs send needs no further reading.
    IF value ~ '^\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d{1,6})?$' AND target = 'datetime2' THEN
        BEGIN
            RETURN value::timestamp;
        EXCEPTION WHEN datetime_field_overflow OR invalid_datetime_format THEN
            PERFORM sys.bad_date(attempt);
            RETURN NULL;
        END;
    END IF;
    read := sys.read_date(value, style);
    IF read IS NULL OR (target IN ('datetime', 'smalldatetime') AND (read.fraction > 3 OR (read.has_offset AND upper(right(value, 1)) <> 'Z'))) THEN
        IF target IN ('datetime', 'smalldatetime') AND value ~ '^\s*\d{4}-?\d\d-?\d\d' AND read IS NULL AND NOT attempt THEN
            PERFORM sys.throw(242, format('The conversion of a %s data type to a %s data type resulted in an out-of-range value.', source, target));
        END IF;
        PERFORM sys.bad_date(attempt);
        RETURN NULL;
    END IF;
    IF (target = 'datetime' AND read.local < '1753-01-01') OR (target = 'smalldatetime' AND (read.local < '1900-01-01' OR read.local >= '2079-06-07')) THEN
        IF NOT attempt THEN
            PERFORM sys.throw(242, format('The conversion of a %s data type to a %s data type resulted in an out-of-range value.', source, target));
        END IF;
        RETURN NULL;
    END IF;
    RETURN read.local;
END $$;

CREATE FUNCTION sys.text_to_date(value text, style int, source text, target text, attempt boolean) RETURNS date
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE read sys.read_date := sys.read_date(value, style);
BEGIN
    IF read IS NULL THEN PERFORM sys.bad_date(attempt); END IF;
    RETURN read.local::date;
END $$;

CREATE FUNCTION sys.text_to_time(value text, style int, source text, target text, attempt boolean) RETURNS time
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE read sys.read_date := sys.read_date(value, style);
BEGIN
    IF read IS NULL THEN PERFORM sys.bad_date(attempt); END IF;
    RETURN read.local::time;
END $$;

CREATE FUNCTION sys.text_to_datetimeoffset(value text, style int, source text, attempt boolean) RETURNS sys.datetimeoffset
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE read sys.read_date := sys.read_date(value, style);
BEGIN
    IF read IS NULL THEN
        PERFORM sys.bad_date(attempt);
        RETURN NULL;
    END IF;
    RETURN sys.to_offset(read.local, read.minutes);
END $$;

CREATE FUNCTION sys.isdate(value text) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN sys.text_to_timestamp(value, 0, 'varchar', 'datetime', true) IS NULL THEN 0 ELSE 1 END;

-- Dates to text. `scale` is the number of fractional digits of the type `source`.
CREATE FUNCTION sys.fraction_of(value timestamp, scale int) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN scale = 0 THEN '' ELSE '.' || left(to_char(value, 'US') || '0', scale) END;

CREATE FUNCTION sys.datetime_to_text(value timestamp, style int, source text, scale int) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    day text;
    clock text;
    long_style int := CASE WHEN style IN (9, 13, 14, 20, 21, 22, 23, 24, 25) OR style >= 100 THEN style ELSE style + 100 END;
BEGIN
    day := CASE long_style
        WHEN 100 THEN to_char(value, 'Mon') || lpad(extract(day FROM value)::text, 3) || to_char(value, ' YYYY')
        WHEN 101 THEN to_char(value, 'MM/DD/YYYY') WHEN 102 THEN to_char(value, 'YYYY.MM.DD')
        WHEN 103 THEN to_char(value, 'DD/MM/YYYY') WHEN 104 THEN to_char(value, 'DD.MM.YYYY')
        WHEN 105 THEN to_char(value, 'DD-MM-YYYY') WHEN 106 THEN to_char(value, 'DD Mon YYYY')
        WHEN 107 THEN to_char(value, 'Mon DD, YYYY') WHEN 110 THEN to_char(value, 'MM-DD-YYYY')
        WHEN 111 THEN to_char(value, 'YYYY/MM/DD') WHEN 112 THEN to_char(value, 'YYYYMMDD')
        WHEN 109 THEN to_char(value, 'Mon') || lpad(extract(day FROM value)::text, 3) || to_char(value, ' YYYY')
        WHEN 9 THEN to_char(value, 'Mon') || lpad(extract(day FROM value)::text, 3) || to_char(value, ' YYYY')
        WHEN 113 THEN to_char(value, 'DD Mon YYYY') WHEN 13 THEN to_char(value, 'DD Mon YYYY')
        WHEN 22 THEN to_char(value, 'MM/DD/YY')
        WHEN 108 THEN '' WHEN 114 THEN '' WHEN 14 THEN '' WHEN 24 THEN ''
        ELSE to_char(value, 'YYYY-MM-DD') END;
    IF style BETWEEN 1 AND 12 AND style NOT IN (8, 9) THEN
        day := replace(day, to_char(value, 'YYYY'), to_char(value, 'YY'));
    END IF;
    IF long_style IN (101, 102, 103, 104, 105, 106, 107, 110, 111, 112, 23) THEN
        clock := '';
    ELSE
        clock := CASE
            WHEN long_style = 100 THEN lpad(to_char(value, 'FMHH12:MI'), 5) || to_char(value, 'AM')
            WHEN long_style IN (109, 9) THEN lpad(to_char(value, 'FMHH12:MI:SS'), 8)
                || CASE WHEN scale = 0 THEN '' ELSE ':' || substr(sys.fraction_of(value, scale), 2) END || to_char(value, 'AM')
            WHEN long_style = 22 THEN lpad(to_char(value, 'FMHH12:MI:SS'), 8) || to_char(value, ' AM')
            WHEN long_style IN (108, 24, 120, 20) THEN to_char(value, 'HH24:MI:SS')
            WHEN long_style IN (113, 13, 114, 14) THEN to_char(value, 'HH24:MI:SS') || replace(sys.fraction_of(value, scale), '.', ':')
            WHEN long_style IN (126, 127) AND source = 'datetime' AND extract(microsecond FROM value)::int % 1000000 = 0 THEN to_char(value, 'HH24:MI:SS')
            WHEN long_style IN (121, 21, 25, 126, 127) THEN to_char(value, 'HH24:MI:SS') || sys.fraction_of(value, scale)
            ELSE NULL END;
    END IF;
    IF long_style IN (130, 131) THEN
        PERFORM sys.throw(40000, 'not supported by the stand-in: dates of the Hijri calendar (styles 130 and 131)');
    END IF;
    IF clock IS NULL THEN
        PERFORM sys.throw(281, format('%s is not a valid style number when converting from %s to a character string.', style, source));
    END IF;
    IF source = 'date' THEN
        IF day = '' THEN PERFORM sys.throw(8114, 'Error converting data type date to varchar.'); END IF;
        RETURN day;
    END IF;
    IF source = 'time' THEN RETURN btrim(clock); END IF;
    IF day = '' OR clock = '' THEN RETURN day || clock; END IF;
    RETURN day || CASE WHEN long_style IN (126, 127) THEN 'T' ELSE ' ' END || clock;
END $$;

CREATE FUNCTION sys.datetimeoffset_to_text(value sys.datetimeoffset, style int, scale int) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF style = 127 THEN
        RETURN sys.datetime_to_text((value).utc, 127, 'datetimeoffset', scale) || 'Z';
    ELSIF style = 126 THEN
        RETURN sys.datetime_to_text(sys.local_time(value), 126, 'datetimeoffset', scale) || sys.offset_text((value).minutes);
    ELSIF style IN (0, 100, 20, 21, 25, 120, 121, 9, 109, 13, 113) THEN
        RETURN sys.datetime_to_text(sys.local_time(value), style, 'datetimeoffset', scale) || ' ' || sys.offset_text((value).minutes);
    END IF;
    RETURN sys.datetime_to_text(sys.local_time(value), style, 'datetimeoffset', scale);
END $$;

-- Date arithmetic.
CREATE FUNCTION sys.dateadd(part text, count bigint, value timestamp) RETURNS timestamp
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE result timestamp;
BEGIN
    IF count IS NULL OR value IS NULL THEN RETURN NULL; END IF;
    CASE part
        WHEN 'year' THEN result := value + make_interval(years => count::int);
        WHEN 'quarter' THEN result := value + make_interval(months => (count * 3)::int);
        WHEN 'month' THEN result := value + make_interval(months => count::int);
        WHEN 'week' THEN result := value + make_interval(days => (count * 7)::int);
        WHEN 'day', 'dayofyear', 'weekday' THEN result := value + make_interval(days => count::int);
        WHEN 'hour' THEN result := value + count * interval '1 hour';
        WHEN 'minute' THEN result := value + count * interval '1 minute';
        WHEN 'second' THEN result := value + count * interval '1 second';
        WHEN 'millisecond' THEN result := value + count * interval '1 millisecond';
        WHEN 'microsecond' THEN result := value + count * interval '1 microsecond';
        WHEN 'nanosecond' THEN result := value + round(count / 1000.0)::bigint * interval '1 microsecond';
    END CASE;
    IF result >= '10000-01-01' OR result < '0001-01-01' THEN
        PERFORM sys.throw(517, 'Adding a value to a ''datetime2'' column caused an overflow.');
    END IF;
    RETURN result;
EXCEPTION WHEN datetime_field_overflow OR numeric_value_out_of_range OR interval_field_overflow THEN
    PERFORM sys.throw(517, 'Adding a value to a ''datetime2'' column caused an overflow.');
    RETURN NULL;
END $$;

CREATE FUNCTION sys.datediff(part text, start timestamp, stop timestamp) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    months bigint;
    elapsed numeric;
BEGIN
    CASE part
        WHEN 'year', 'quarter', 'month' THEN
            months := (extract(year FROM stop) * 12 + extract(month FROM stop) - extract(year FROM start) * 12 - extract(month FROM start))::bigint;
            IF part = 'month' THEN RETURN months; END IF;
            IF part = 'year' THEN RETURN (extract(year FROM stop) - extract(year FROM start))::bigint; END IF;
            RETURN ((extract(year FROM stop) * 4 + extract(quarter FROM stop)) - (extract(year FROM start) * 4 + extract(quarter FROM start)))::bigint;
        WHEN 'day', 'dayofyear', 'weekday' THEN RETURN stop::date - start::date;
        -- Weeks begin on Sunday here whatever DATEFIRST says.
        WHEN 'week' THEN RETURN ((stop::date + 7000000 - date '2000-01-02') / 7) - ((start::date + 7000000 - date '2000-01-02') / 7);
        WHEN 'iso_week' THEN RETURN ((stop::date + 7000000 - date '2000-01-03') / 7) - ((start::date + 7000000 - date '2000-01-03') / 7);
        WHEN 'hour' THEN elapsed := extract(epoch FROM date_trunc('hour', stop) - date_trunc('hour', start)) / 3600;
        WHEN 'minute' THEN elapsed := extract(epoch FROM date_trunc('minute', stop) - date_trunc('minute', start)) / 60;
        WHEN 'second' THEN elapsed := extract(epoch FROM date_trunc('second', stop) - date_trunc('second', start));
        WHEN 'millisecond' THEN elapsed := extract(epoch FROM date_trunc('milliseconds', stop) - date_trunc('milliseconds', start)) * 1000;
        WHEN 'microsecond' THEN elapsed := extract(epoch FROM stop - start) * 1000000;
        WHEN 'nanosecond' THEN elapsed := extract(epoch FROM stop - start) * 1000000000;
    END CASE;
    IF abs(elapsed) > 9223372036854775807 THEN
        PERFORM sys.throw(535, 'The datediff_big function resulted in an overflow. The number of dateparts separating two date/time instances is too large. Try to use datediff_big with a less precise datepart.');
    END IF;
    RETURN elapsed::bigint;
END $$;

CREATE FUNCTION sys.checked_datediff(value bigint) RETURNS int
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF value NOT BETWEEN -2147483648 AND 2147483647 THEN
        PERFORM sys.throw(535, 'The datediff function resulted in an overflow. The number of dateparts separating two date/time instances is too large. Try to use datediff with a less precise datepart.');
    END IF;
    RETURN value::int;
END $$;

CREATE FUNCTION sys.datefirst() RETURNS int
LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce(nullif(current_setting('standin.datefirst', true), '')::int, 7);

CREATE FUNCTION sys.datepart(part text, value timestamp) RETURNS int
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
DECLARE first int;
BEGIN
    CASE part
        WHEN 'year' THEN RETURN extract(year FROM value)::int;
        WHEN 'quarter' THEN RETURN extract(quarter FROM value)::int;
        WHEN 'month' THEN RETURN extract(month FROM value)::int;
        WHEN 'dayofyear' THEN RETURN extract(doy FROM value)::int;
        WHEN 'day' THEN RETURN extract(day FROM value)::int;
        WHEN 'week' THEN
            -- Week 1 holds 1 January; weeks begin on DATEFIRST.
            first := (extract(isodow FROM date_trunc('year', value))::int - sys.datefirst() + 7) % 7;
            RETURN (extract(doy FROM value)::int - 1 + first) / 7 + 1;
        WHEN 'weekday' THEN RETURN (extract(isodow FROM value)::int - sys.datefirst() + 7) % 7 + 1;
        WHEN 'hour' THEN RETURN extract(hour FROM value)::int;
        WHEN 'minute' THEN RETURN extract(minute FROM value)::int;
        WHEN 'second' THEN RETURN floor(extract(second FROM value))::int;
        WHEN 'millisecond' THEN RETURN floor(extract(millisecond FROM value))::int % 1000;
        WHEN 'microsecond' THEN RETURN extract(microsecond FROM value)::int % 1000000;
        WHEN 'nanosecond' THEN RETURN (extract(microsecond FROM value)::bigint % 1000000 * 1000)::int;
        WHEN 'iso_week' THEN RETURN extract(week FROM value)::int;
    END CASE;
END $$;

CREATE FUNCTION sys.datetrunc(part text, value timestamp) RETURNS timestamp
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
BEGIN
    CASE part
        WHEN 'dayofyear' THEN RETURN date_trunc('day', value);
        WHEN 'iso_week' THEN RETURN date_trunc('week', value);
        WHEN 'week' THEN RETURN date_trunc('day', value) - make_interval(days => (extract(isodow FROM value)::int - sys.datefirst() + 7) % 7);
        WHEN 'millisecond' THEN RETURN date_trunc('milliseconds', value);
        WHEN 'microsecond' THEN RETURN date_trunc('microseconds', value);
        ELSE RETURN date_trunc(part, value);
    END CASE;
END $$;

CREATE FUNCTION sys.eomonth(value date, months int) RETURNS date
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (date_trunc('month', value::timestamp) + make_interval(months => coalesce(months, 0) + 1) - interval '1 day')::date;

-- Values from their parts: error 289 for parts that make no date.
CREATE FUNCTION sys.datetime2fromparts(year int, month int, day int, hour int, minute int, second int, fraction int, digits int) RETURNS timestamp
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF fraction < 0 OR fraction >= 10 ^ digits OR year NOT BETWEEN 1 AND 9999 OR second NOT BETWEEN 0 AND 59 OR hour NOT BETWEEN 0 AND 23 THEN
        PERFORM sys.throw(289, 'Cannot construct data type datetime2, some of the arguments have values which are not valid.');
    END IF;
    RETURN make_timestamp(year, month, day, hour, minute, second + fraction / 10.0 ^ digits);
EXCEPTION WHEN datetime_field_overflow THEN
    PERFORM sys.throw(289, 'Cannot construct data type datetime2, some of the arguments have values which are not valid.');
END $$;

CREATE FUNCTION sys.datefromparts(year int, month int, day int) RETURNS date
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF year NOT BETWEEN 1 AND 9999 THEN
        PERFORM sys.throw(289, 'Cannot construct data type date, some of the arguments have values which are not valid.');
    END IF;
    RETURN make_date(year, month, day);
EXCEPTION WHEN datetime_field_overflow THEN
    PERFORM sys.throw(289, 'Cannot construct data type date, some of the arguments have values which are not valid.');
END $$;

CREATE FUNCTION sys.datetimefromparts(year int, month int, day int, hour int, minute int, second int, millisecond int) RETURNS timestamp
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN sys.round_datetime(sys.datetime2fromparts(year, month, day, hour, minute, second, millisecond, 3));

CREATE FUNCTION sys.smalldatetimefromparts(year int, month int, day int, hour int, minute int) RETURNS timestamp
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN sys.datetime2fromparts(year, month, day, hour, minute, 0, 0, 0);

CREATE FUNCTION sys.timefromparts(hour int, minute int, second int, fraction int, digits int) RETURNS time
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN sys.datetime2fromparts(1900, 1, 1, hour, minute, second, fraction, digits)::time;

CREATE FUNCTION sys.datetimeoffsetfromparts(year int, month int, day int, hour int, minute int, second int, fraction int,
                                            hours_offset int, minutes_offset int, digits int) RETURNS sys.datetimeoffset
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN sys.to_offset(sys.datetime2fromparts(year, month, day, hour, minute, second, fraction, digits), hours_offset * 60 + minutes_offset);

-- FORMAT with .NET's custom and the commonest standard patterns, culture en-US.
CREATE FUNCTION sys.format_date(value timestamp, pattern text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    custom text := CASE pattern WHEN 'd' THEN 'M/d/yyyy' WHEN 'D' THEN 'dddd, MMMM d, yyyy' WHEN 't' THEN 'h:mm tt' WHEN 'T' THEN 'h:mm:ss tt'
                   WHEN 's' THEN 'yyyy-MM-ddTHH:mm:ss' WHEN 'u' THEN 'yyyy-MM-dd HH:mm:ssZ' WHEN 'g' THEN 'M/d/yyyy h:mm tt' WHEN 'G' THEN 'M/d/yyyy h:mm:ss tt'
                   ELSE pattern END;
    result text := '';
    piece text;
BEGIN
    FOR piece IN SELECT m[1] FROM regexp_matches(custom, '(y+|M+|d+|H+|h+|m+|s+|f+|t+|''[^'']*''|\\.|.)', 'g') AS m LOOP
        result := result || CASE piece
            WHEN 'yyyy' THEN to_char(value, 'YYYY') WHEN 'yy' THEN to_char(value, 'YY')
            WHEN 'MMMM' THEN to_char(value, 'FMMonth') WHEN 'MMM' THEN to_char(value, 'Mon') WHEN 'MM' THEN to_char(value, 'MM') WHEN 'M' THEN to_char(value, 'FMMM')
            WHEN 'dddd' THEN to_char(value, 'FMDay') WHEN 'ddd' THEN to_char(value, 'Dy') WHEN 'dd' THEN to_char(value, 'DD') WHEN 'd' THEN to_char(value, 'FMDD')
            WHEN 'HH' THEN to_char(value, 'HH24') WHEN 'H' THEN to_char(value, 'FMHH24') WHEN 'hh' THEN to_char(value, 'HH12') WHEN 'h' THEN to_char(value, 'FMHH12')
            WHEN 'mm' THEN to_char(value, 'MI') WHEN 'm' THEN to_char(value, 'FMMI') WHEN 'ss' THEN to_char(value, 'SS') WHEN 's' THEN to_char(value, 'FMSS')
            WHEN 'tt' THEN to_char(value, 'AM') WHEN 't' THEN left(to_char(value, 'AM'), 1)
            ELSE CASE WHEN piece ~ '^f+$' THEN left(to_char(value, 'US') || '0', length(piece))
                      WHEN piece ~ '^''' THEN btrim(piece, '''')
                      WHEN piece ~ '^\\' THEN substr(piece, 2) ELSE piece END END;
    END LOOP;
    RETURN result;
END $$;

CREATE FUNCTION sys.format_number(value numeric, pattern text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    kind text := upper(left(pattern, 1));
    digits int;
    zeros text;
BEGIN
    IF pattern ~* '^[nfdpc]\d{0,2}$' THEN
        digits := coalesce(nullif(substr(pattern, 2), '')::int, CASE kind WHEN 'D' THEN 1 ELSE 2 END);
        zeros := CASE WHEN digits = 0 OR kind = 'D' THEN '' ELSE '.' || repeat('0', digits) END;
        RETURN CASE kind
            WHEN 'N' THEN to_char(round(value, digits), 'FM999,999,999,999,999,999,990' || zeros)
            WHEN 'C' THEN CASE WHEN value < 0 THEN '-' ELSE '' END || '$' || to_char(abs(round(value, digits)), 'FM999,999,999,999,999,999,990' || zeros)
            WHEN 'F' THEN round(value, digits)::text
            WHEN 'P' THEN to_char(round(value * 100, digits), 'FM999,999,999,999,999,999,990' || zeros) || '%'
            WHEN 'D' THEN CASE WHEN value < 0 THEN '-' ELSE '' END || lpad(trunc(abs(value))::text, greatest(digits, length(trunc(abs(value))::text)), '0') END;
    END IF;
    IF pattern ~ '^[#0,.]+$' THEN
        RETURN to_char(round(value, length(split_part(pattern, '.', 2))), 'FM' || replace(pattern, '#', '9'));
    END IF;
    PERFORM sys.throw(40000, 'not supported by the stand-in: FORMAT with the pattern ' || pattern);
    RETURN NULL;
END $$;
