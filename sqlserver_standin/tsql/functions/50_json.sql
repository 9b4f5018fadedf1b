-- JSON: paths are `[lax|strict] $.key."quoted key"[0]…`; lax gives NULL where strict is an error.

CREATE TYPE sys.json_path AS (is_strict boolean, append boolean, steps text[], is_index boolean[]);

CREATE FUNCTION sys.json_path(path text) RETURNS sys.json_path
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    rest text := btrim(path);
    result sys.json_path := ROW(false, false, '{}', '{}')::sys.json_path;
    step text[];
BEGIN
    LOOP
        step := regexp_match(rest, '^(append|lax|strict)\s+(.*)$', 'i');
        EXIT WHEN step IS NULL;
        IF lower(step[1]) = 'append' THEN result.append := true; ELSE result.is_strict := lower(step[1]) = 'strict'; END IF;
        rest := step[2];
    END LOOP;
    IF left(rest, 1) <> '$' THEN
        PERFORM sys.throw(13607, format('JSON path is not properly formatted. Unexpected character ''%s'' is found at position 0.', left(rest, 1)));
    END IF;
    rest := substr(rest, 2);
    WHILE rest <> '' LOOP
        step := regexp_match(rest, '^\s*\[\s*(\d+)\s*\](.*)$');
        IF step IS NOT NULL THEN
            result.steps := result.steps || step[1];
            result.is_index := result.is_index || true;
        ELSE
            step := regexp_match(rest, '^\s*\.\s*"((?:[^"\\]|\\.)*)"(.*)$');
            IF step IS NOT NULL THEN
                step[1] := ('"' || step[1] || '"')::json #>> '{}';
            ELSE
                step := regexp_match(rest, '^\s*\.\s*([[:alnum:]_$]+)(.*)$');
            END IF;
            IF step IS NULL THEN
                PERFORM sys.throw(13607, format('JSON path is not properly formatted. Unexpected character ''%s'' is found at position %s.',
                                                substr(ltrim(rest), 1, 1), length(path) - length(rest)));
            END IF;
            result.steps := result.steps || step[1];
            result.is_index := result.is_index || false;
        END IF;
        rest := step[2];
    END LOOP;
    RETURN result;
END $$;

CREATE FUNCTION sys.bad_json(document text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sys.throw(13609, format('JSON text is not properly formatted. Unexpected character ''%s'' is found at position %s.',
                                    coalesce(nullif(left(ltrim(document), 1), ''), '.'), length(document) - length(ltrim(document))));
END $$;

-- The value at `path`; NULL when there is none.
CREATE FUNCTION sys.json_at(document json, path sys.json_path) RETURNS json
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    here json := document;
    kind text;
BEGIN
    FOR position IN 1 .. cardinality(path.steps) LOOP
        kind := json_typeof(here);
        IF path.is_index[position] THEN
            IF kind <> 'array' THEN here := NULL; ELSE here := here -> path.steps[position]::int; END IF;
        ELSE
            IF kind <> 'object' THEN here := NULL; ELSE here := here -> path.steps[position]; END IF;
        END IF;
        IF here IS NULL THEN
            IF path.is_strict THEN PERFORM sys.throw(13608, 'Property cannot be found on the specified JSON path.'); END IF;
            RETURN NULL;
        END IF;
    END LOOP;
    RETURN here;
END $$;

CREATE FUNCTION sys.isjson(document text, kind text) RETURNS int
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE kind WHEN 'any' THEN document IS JSON AND NOT document IS JSON SCALAR
                 WHEN 'value' THEN document IS JSON
                 WHEN 'array' THEN document IS JSON ARRAY
                 WHEN 'object' THEN document IS JSON OBJECT
                 ELSE document IS JSON SCALAR AND document !~ '^\s*(true|false|null)\s*$' END::int;

CREATE FUNCTION sys.json_value(document text, path text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    parsed sys.json_path := sys.json_path(path);
    here json;
    result text;
BEGIN
    IF document IS NOT JSON OR document IS JSON SCALAR THEN PERFORM sys.bad_json(document); END IF;
    here := sys.json_at(document::json, parsed);
    IF here IS NULL THEN RETURN NULL; END IF;
    IF json_typeof(here) IN ('object', 'array') THEN
        IF parsed.is_strict THEN PERFORM sys.throw(13623, 'Scalar value cannot be found in the specified JSON path.'); END IF;
        RETURN NULL;
    END IF;
    result := here #>> '{}';
    IF length(result) > 4000 THEN
        IF parsed.is_strict THEN PERFORM sys.throw(13625, 'String value in the specified JSON path would be truncated.'); END IF;
        RETURN NULL;
    END IF;
    RETURN result;
END $$;

CREATE FUNCTION sys.json_query(document text, path text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    parsed sys.json_path := sys.json_path(path);
    here json;
BEGIN
    IF document IS NOT JSON OR document IS JSON SCALAR THEN PERFORM sys.bad_json(document); END IF;
    here := sys.json_at(document::json, parsed);
    IF here IS NULL THEN RETURN NULL; END IF;
    IF json_typeof(here) NOT IN ('object', 'array') THEN
        IF parsed.is_strict THEN PERFORM sys.throw(13624, 'Object or array cannot be found in the specified JSON path.'); END IF;
        RETURN NULL;
    END IF;
    RETURN btrim(here::text);
END $$;

-- Like json_query, for a document of type json that may be a scalar (a row of OPENJSON).
CREATE FUNCTION sys.json_query(document json, path text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    parsed sys.json_path := sys.json_path(path);
    here json := sys.json_at(document, parsed);
BEGIN
    IF here IS NULL THEN RETURN NULL; END IF;
    IF json_typeof(here) NOT IN ('object', 'array') THEN
        IF parsed.is_strict THEN PERFORM sys.throw(13624, 'Object or array cannot be found in the specified JSON path.'); END IF;
        RETURN NULL;
    END IF;
    RETURN btrim(here::text);
END $$;

CREATE FUNCTION sys.json_path_exists(document text, path text) RETURNS int
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE parsed sys.json_path := sys.json_path(path);
BEGIN
    parsed.is_strict := false;
    IF document IS NOT JSON OR document IS JSON SCALAR THEN RETURN 0; END IF;
    RETURN (sys.json_at(document::json, parsed) IS NOT NULL)::int;
END $$;

-- `document` with `given` at `steps`; NULL for `given` takes the member away, `append` adds to an array.
CREATE FUNCTION sys.json_put(document json, steps text[], is_index boolean[], given json, append boolean, strict boolean) RETURNS json
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    result text := '';
    member record;
    found boolean := false;
    new json;
    last boolean := cardinality(steps) = 1;
BEGIN
    IF cardinality(steps) = 0 THEN
        IF append AND json_typeof(document) = 'array' THEN
            SELECT string_agg(e::text, ',') INTO result FROM json_array_elements(document) AS e;
            RETURN ('[' || concat_ws(',', result, coalesce(given, 'null')::text) || ']')::json;
        END IF;
        RETURN CASE WHEN append THEN json_build_array(given) ELSE given END;
    END IF;
    IF json_typeof(document) = 'object' AND NOT is_index[1] THEN
        FOR member IN SELECT key, value FROM json_each(document) LOOP
            new := member.value;
            IF member.key = steps[1] AND NOT found THEN
                found := true;
                new := sys.json_put(member.value, steps[2:], is_index[2:], given, append, strict);
                CONTINUE WHEN last AND given IS NULL AND NOT append AND NOT strict;
                new := coalesce(new, 'null'::json);
            END IF;
            result := result || ',' || to_json(member.key)::text || ':' || new::text;
        END LOOP;
        IF NOT found THEN
            IF strict THEN PERFORM sys.throw(13608, 'Property cannot be found on the specified JSON path.'); END IF;
            IF last AND (given IS NOT NULL OR append) THEN
                result := result || ',' || to_json(steps[1])::text || ':' || CASE WHEN append THEN json_build_array(given) ELSE given END::text;
            END IF;
        END IF;
        RETURN ('{' || substr(result, 2) || '}')::json;
    ELSIF json_typeof(document) = 'array' AND is_index[1] THEN
        FOR member IN SELECT value, ordinality - 1 AS key FROM json_array_elements(document) WITH ORDINALITY LOOP
            new := member.value;
            IF member.key = steps[1]::int THEN
                found := true;
                new := coalesce(sys.json_put(member.value, steps[2:], is_index[2:], given, append, strict), 'null'::json);
            END IF;
            result := result || ',' || new::text;
        END LOOP;
        IF NOT found AND strict THEN PERFORM sys.throw(13608, 'Property cannot be found on the specified JSON path.'); END IF;
        RETURN ('[' || substr(result, 2) || ']')::json;
    END IF;
    IF strict THEN PERFORM sys.throw(13608, 'Property cannot be found on the specified JSON path.'); END IF;
    RETURN document;
END $$;

CREATE FUNCTION sys.json_modify(document text, path text, given json) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE parsed sys.json_path := sys.json_path(path);
BEGIN
    IF document IS NULL OR path IS NULL THEN RETURN NULL; END IF;
    IF document IS NOT JSON OR document IS JSON SCALAR THEN PERFORM sys.bad_json(document); END IF;
    RETURN sys.json_put(document::json, parsed.steps, parsed.is_index, given, parsed.append, parsed.is_strict)::text;
END $$;

CREATE FUNCTION sys.json_member(key text, value json, keep_null boolean) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN value IS NULL AND NOT keep_null THEN NULL ELSE to_json(key)::text || ':' || coalesce(value::text, 'null') END;

CREATE FUNCTION sys.json_item(value json, keep_null boolean) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN value IS NULL THEN CASE WHEN keep_null THEN 'null' END ELSE value::text END;

CREATE FUNCTION sys.openjson(document text, path text) RETURNS TABLE (key text, value text, type int)
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE here json;
BEGIN
    IF document IS NOT JSON OR document IS JSON SCALAR THEN PERFORM sys.bad_json(document); END IF;
    here := sys.json_at(document::json, sys.json_path(path));
    IF here IS NULL THEN RETURN; END IF;
    IF json_typeof(here) = 'array' THEN
        RETURN QUERY SELECT (ordinality - 1)::text, CASE WHEN json_typeof(e) IN ('object', 'array') THEN e::text ELSE e #>> '{}' END,
                            array_position(ARRAY['null', 'string', 'number', 'boolean', 'array', 'object'], json_typeof(e)) - 1
                     FROM json_array_elements(here) WITH ORDINALITY AS t(e, ordinality);
    ELSIF json_typeof(here) = 'object' THEN
        RETURN QUERY SELECT e.key, CASE WHEN json_typeof(e.value) IN ('object', 'array') THEN e.value::text ELSE e.value #>> '{}' END,
                            array_position(ARRAY['null', 'string', 'number', 'boolean', 'array', 'object'], json_typeof(e.value)) - 1
                     FROM json_each(here) AS e;
    END IF;
END $$;

CREATE FUNCTION sys.openjson_rows(document text, path text) RETURNS SETOF json
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE here json;
BEGIN
    IF document IS NOT JSON OR document IS JSON SCALAR THEN PERFORM sys.bad_json(document); END IF;
    here := sys.json_at(document::json, sys.json_path(path));
    IF here IS NULL THEN RETURN; END IF;
    IF json_typeof(here) = 'array' THEN
        RETURN QUERY SELECT e FROM json_array_elements(here) AS e;
    ELSIF json_typeof(here) = 'object' THEN
        RETURN NEXT here;
    END IF;
END $$;

CREATE FUNCTION sys.openjson_value(item json, path text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    parsed sys.json_path;
    here json;
BEGIN
    IF path = '$' THEN
        here := item;
    ELSE
        parsed := sys.json_path(path);
        here := sys.json_at(item, parsed);
    END IF;
    IF here IS NULL OR json_typeof(here) IN ('object', 'array') THEN
        IF here IS NOT NULL AND parsed.is_strict THEN
            PERFORM sys.throw(13624, 'Object or array cannot be found in the specified JSON path.');
        END IF;
        RETURN NULL;
    END IF;
    RETURN here #>> '{}';
END $$;
