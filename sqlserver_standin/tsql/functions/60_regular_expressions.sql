-- REGEXP_LIKE: RE2's patterns as PostgreSQL's advanced regular expressions.
-- https://learn.microsoft.com/sql/t-sql/functions/regexp-like-transact-sql, https://github.com/google/re2/wiki/Syntax
-- Whether a text matches does not depend on what a match prefers (greedy, leftmost, captured): only the language of a pattern
-- has to be the same. RE2's classes \d, \s, \w, [[:alpha:]] and its \b know ASCII alone, so each is written out here.

CREATE FUNCTION sys.bad_pattern(pattern text, reason text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sys.throw(19300, format('An invalid Pattern ''%s'' was provided. Error ''%s'' occurred during evaluation of the Pattern.',
                                    pattern, reason));
END $$;

CREATE FUNCTION sys.unsupported_pattern(what text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sys.throw(40000, 'not supported by the stand-in: REGEXP_LIKE with ' || what);
END $$;

-- A character outside of brackets, and within.
CREATE FUNCTION sys.are_character(code integer, bracket boolean) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN chr(code) ~ '[A-Za-z0-9]' THEN chr(code)
            WHEN bracket OR code < 32 THEN '\U' || lpad(to_hex(code), 8, '0')
            WHEN code < 128 THEN '\' || chr(code)
            ELSE chr(code) END;

-- The character that the escape at `place` (behind the backslash) means, and where it ends.
CREATE FUNCTION sys.re2_escape(pattern text, place integer, OUT code integer, OUT ends integer)
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    letter text := substr(pattern, place, 1);
    found text;
BEGIN
    IF letter = '' THEN
        PERFORM sys.throw(19309, format('Invalid trailing backslash (\) provided at the end of the Pattern %s.', pattern));
    END IF;
    ends := place + 1;
    CASE
        WHEN letter ~ '[0-7]' THEN
            found := substring(substr(pattern, place, 3) FROM '^[0-7]+');
            -- A single digit would be a back reference.
            IF letter <> '0' AND length(found) = 1 THEN PERFORM sys.bad_pattern(pattern, 'invalid escape sequence: \' || letter); END IF;
            code := 0;
            FOR digit IN 1 .. length(found) LOOP code := 8 * code + substr(found, digit, 1)::int; END LOOP;
            ends := place + length(found);
        WHEN letter = 'x' THEN
            found := substring(substr(pattern, place) FROM '^x(?:[[:xdigit:]]{2}|\{[[:xdigit:]]+\})');
            IF found IS NULL OR length(ltrim(found, 'x{0')) > 7 OR ('x' || lpad(btrim(found, 'x{}'), 8, '0'))::bit(32)::int > 1114111 THEN
                PERFORM sys.bad_pattern(pattern, 'invalid escape sequence: \' || coalesce(rtrim(found, '}'), substr(pattern, place, 2)));
            END IF;
            code := ('x' || lpad(btrim(found, 'x{}'), 8, '0'))::bit(32)::int;
            ends := place + length(found);
        WHEN letter ~ '[anrtfv]' THEN
            code := (ARRAY[7, 10, 13, 9, 12, 11])[strpos('anrtfv', letter)];
        WHEN letter ~ '[!-/:-@\[-`{-~]' THEN
            code := ascii(letter);
        ELSE
            PERFORM sys.bad_pattern(pattern, 'invalid escape sequence: \' || letter);
    END CASE;
    IF code = 0 THEN PERFORM sys.unsupported_pattern('the character U+0000'); END IF;
END $$;

-- The inside of a bracket for \d, \s and \w, and for [:name:]; NULL for another.
CREATE FUNCTION sys.re2_class(name text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE name
    WHEN 'd' THEN '0-9' WHEN 's' THEN '\t\n\f\r ' WHEN 'w' THEN '0-9A-Za-z_'
    WHEN 'alnum' THEN '0-9A-Za-z' WHEN 'alpha' THEN 'A-Za-z' WHEN 'ascii' THEN '\x01-\x7f' WHEN 'blank' THEN '\t '
    WHEN 'cntrl' THEN '\x01-\x1f\x7f' WHEN 'digit' THEN '0-9' WHEN 'graph' THEN '!-~' WHEN 'lower' THEN 'a-z' WHEN 'print' THEN ' -~'
    WHEN 'punct' THEN '!-/:-@\x5b-\x60{-~' WHEN 'space' THEN '\t\n\v\f\r ' WHEN 'upper' THEN 'A-Z' WHEN 'word' THEN '0-9A-Za-z_'
    WHEN 'xdigit' THEN '0-9A-Fa-f' END;

-- The bracket expression that begins at `place`, and where it ends.
CREATE FUNCTION sys.re2_bracket(pattern text, place integer, OUT atom text, OUT ends integer)
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    negated boolean := substr(pattern, place + 1, 1) = '^';
    at integer := place + CASE WHEN negated THEN 2 ELSE 1 END;
    began integer := at;
    item integer;
    members text := '';
    -- Classes that are complements, like \D: PostgreSQL takes none within brackets.
    alternatives text := '';
    found text[];
    low integer;
    high integer;
BEGIN
    LOOP
        IF at > length(pattern) THEN PERFORM sys.throw(19308, format('Missing '']'' in the Pattern %s.', pattern), state => 2); END IF;
        EXIT WHEN substr(pattern, at, 1) = ']' AND at > began;
        item := at;
        found := regexp_match(substr(pattern, at), '^\[:(\^?)((?:(?!:\]).)*):\]');
        IF found IS NULL THEN
            found := regexp_match(substr(pattern, at, 2), '^\\([dswDSW])$');
            IF found IS NOT NULL THEN found := ARRAY[CASE WHEN found[1] ~ '[DSW]' THEN '^' ELSE '' END, lower(found[1])]; END IF;
            at := at + 2;
        ELSE
            at := at + length(found[1]) + length(found[2]) + 4;
        END IF;
        IF found IS NOT NULL THEN
            IF sys.re2_class(found[2]) IS NULL THEN
                PERFORM sys.bad_pattern(pattern, format('invalid character class range: [:%s%s:]', found[1], found[2]));
            END IF;
            IF found[1] = '^' THEN
                alternatives := alternatives || '|[^' || sys.re2_class(found[2]) || ']';
            ELSE
                members := members || sys.re2_class(found[2]);
            END IF;
            CONTINUE;
        END IF;
        at := item;
        IF substr(pattern, at, 2) ~ '^\\[pP]$' THEN PERFORM sys.unsupported_pattern('a Unicode class (\p)'); END IF;
        SELECT code, next INTO low, at FROM sys.re2_member(pattern, at) AS m (code, next);
        high := low;
        IF substr(pattern, at, 1) = '-' AND substr(pattern, at + 1, 1) NOT IN (']', '') THEN
            SELECT code, next INTO high, at FROM sys.re2_member(pattern, at + 1) AS m (code, next);
            IF high < low THEN
                PERFORM sys.bad_pattern(pattern, 'invalid character class range: ' || substr(pattern, item, at - item));
            END IF;
        END IF;
        members := members || sys.are_character(low, true)
                   || CASE WHEN high > low THEN '-' || sys.are_character(high, true) ELSE '' END;
    END LOOP;
    ends := at + 1;
    IF alternatives = '' THEN
        atom := '[' || CASE WHEN negated THEN '^' ELSE '' END || members || ']';
    ELSE
        atom := substr(alternatives, 2) || CASE WHEN members <> '' THEN '|[' || members || ']' ELSE '' END;
        atom := CASE WHEN negated THEN '(?:(?!' || atom || ').)' ELSE '(?:' || atom || ')' END;
    END IF;
END $$;

-- A single character within brackets.
CREATE FUNCTION sys.re2_member(pattern text, place integer, OUT code integer, OUT ends integer)
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF substr(pattern, place, 1) = '\' THEN
        SELECT e.code, e.ends INTO code, ends FROM sys.re2_escape(pattern, place + 1) AS e;
    ELSE
        code := ascii(substr(pattern, place, 1));
        ends := place + 1;
    END IF;
END $$;

-- The head of a group at `place`: what it switches on and off, whether it opens a group, and where it ends.
CREATE FUNCTION sys.re2_group(pattern text, place integer, OUT switched_on text, OUT switched_off text, OUT opens boolean, OUT ends integer)
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    rest text := substr(pattern, place);
    found text[];
BEGIN
    switched_on := '';
    switched_off := '';
    opens := true;
    IF rest !~ '^\(\?' THEN
        ends := place + 1;
    ELSIF rest ~ '^\(\?P<' THEN
        found := regexp_match(rest, '^\(\?P<([^>]*)>');
        IF found IS NULL OR found[1] !~ '^[A-Za-z0-9_]+$' THEN
            PERFORM sys.bad_pattern(pattern, 'invalid named capture group: ' || coalesce('(?P<' || found[1] || '>', rest));
        END IF;
        ends := place + length(found[1]) + 5;
    ELSE
        found := regexp_match(rest, '^\(\?([imsU]*)(?:-([imsU]+))?([:)])');
        IF found IS NULL OR (found[1] = '' AND found[2] IS NULL AND found[3] = ')') THEN
            PERFORM sys.bad_pattern(pattern, 'invalid perl operator: ' || substring(rest FROM '^\(\?(?:[imsU]*(?:-[imsU]*)?)?[^imsU]?'));
        END IF;
        switched_on := found[1];
        switched_off := coalesce(found[2], '');
        opens := found[3] = ':';
        ends := place + length(switched_on) + length(switched_off) + CASE WHEN found[2] IS NULL THEN 3 ELSE 4 END;
    END IF;
END $$;

-- The pattern that PostgreSQL takes in the place of RE2's.
CREATE FUNCTION sys.re2_to_are(pattern text, flags text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    word constant text := '[0-9A-Za-z_]';
    -- The last of i and c holds.
    folded boolean := coalesce(regexp_replace(flags, '[^ic]', '', 'g') ~ 'i$', false);
    -- What is switched on here, of m and s; the outer groups' on a stack.
    modes text := regexp_replace(flags, '[^ms]', '', 'g');
    outer_modes text[] := '{}';
    result text := '';
    at integer := 1;
    letter text;
    atom text;
    repetition text;
    bounds text[];
    head record;
    -- Something stands here that can be repeated; and how it is repeated already.
    repeatable boolean := false;
    repeated boolean := false;
    last_repetition text := '';
BEGIN
    WHILE at <= length(pattern) LOOP
        letter := substr(pattern, at, 1);
        atom := NULL;
        bounds := CASE WHEN letter = '{' THEN regexp_match(substr(pattern, at, 24), '^\{(0|[1-9]\d*)(?:(,)(0|[1-9]\d*)?)?\}') END;
        CASE
            WHEN letter IN ('*', '+', '?') OR bounds IS NOT NULL THEN
                repetition := CASE WHEN bounds IS NULL THEN letter
                                   ELSE '{' || bounds[1] || coalesce(bounds[2], '') || coalesce(bounds[3], '') || '}' END;
                at := at + length(repetition);
                atom := repetition || CASE WHEN substr(pattern, at, 1) = '?' THEN '?' ELSE '' END;
                at := at + length(atom) - length(repetition);
                IF last_repetition <> '' THEN PERFORM sys.bad_pattern(pattern, 'bad repetition operator: ' || last_repetition || atom); END IF;
                IF greatest(bounds[1]::numeric, bounds[3]::numeric) > 1000 OR bounds[3]::numeric < bounds[1]::numeric THEN
                    PERFORM sys.bad_pattern(pattern, 'invalid repetition size: ' || repetition);
                END IF;
                IF NOT repeatable THEN PERFORM sys.bad_pattern(pattern, 'no argument for repetition operator: ' || atom); END IF;
                IF repeated THEN PERFORM sys.unsupported_pattern('a repetition of a repetition'); END IF;
                IF greatest(bounds[1]::int, bounds[3]::int) > 255 THEN PERFORM sys.unsupported_pattern('more than 255 repetitions'); END IF;
                result := result || repetition;
                last_repetition := atom;
                repeated := true;
                CONTINUE;
            WHEN letter = '(' THEN
                head := sys.re2_group(pattern, at);
                at := head.ends;
                IF head.opens THEN
                    outer_modes := outer_modes || modes;
                END IF;
                IF (head.switched_on ~ 'i' AND NOT folded) OR (head.switched_off ~ 'i' AND folded) THEN
                    IF head.opens OR result <> '' OR cardinality(outer_modes) > 0 THEN
                        PERFORM sys.unsupported_pattern('a change of case sensitivity after the beginning of the pattern');
                    END IF;
                    folded := NOT folded;
                END IF;
                modes := translate(modes, head.switched_off, '') || head.switched_on;
                last_repetition := '';
                IF head.opens THEN
                    result := result || '(?:';
                    repeatable := false;
                    repeated := false;
                END IF;
                CONTINUE;
            WHEN letter = '|' THEN
                result := result || '|';
                at := at + 1;
                repeatable := false;
                repeated := false;
                last_repetition := '';
                CONTINUE;
            WHEN letter = ')' THEN
                IF cardinality(outer_modes) = 0 THEN
                    PERFORM sys.throw(19307, format('Encountered an unexpected '')'' in the Pattern %s.', pattern));
                END IF;
                modes := outer_modes[cardinality(outer_modes)];
                outer_modes := trim_array(outer_modes, 1);
                atom := ')';
                at := at + 1;
            WHEN letter = '[' THEN
                SELECT b.atom, b.ends INTO atom, at FROM sys.re2_bracket(pattern, at) AS b;
            WHEN letter = '.' THEN
                atom := CASE WHEN modes ~ 's' THEN '.' ELSE '[^\n]' END;
                at := at + 1;
            WHEN letter = '^' THEN
                atom := CASE WHEN modes ~ 'm' THEN '(?:\A|(?<=\n))' ELSE '(?:\A)' END;
                at := at + 1;
            WHEN letter = '$' THEN
                atom := CASE WHEN modes ~ 'm' THEN '(?:\Z|(?=\n))' ELSE '(?:\Z)' END;
                at := at + 1;
            WHEN letter = '\' THEN
                letter := substr(pattern, at + 1, 1);
                at := at + 2;
                CASE
                    WHEN letter = 'Q' THEN
                        atom := coalesce(substring(substr(pattern, at) FROM '^(.*?)\\E'), substr(pattern, at));
                        at := at + length(atom) + CASE WHEN substr(pattern, at + length(atom), 2) = '\E' THEN 2 ELSE 0 END;
                        IF atom = '' THEN CONTINUE; END IF;
                        atom := (SELECT string_agg(sys.are_character(ascii(each), false), '' ORDER BY position)
                                   FROM string_to_table(atom, NULL) WITH ORDINALITY AS t (each, position));
                    WHEN letter ~ '[dsw]' THEN atom := '[' || sys.re2_class(letter) || ']';
                    WHEN letter ~ '[DSW]' THEN atom := '[^' || sys.re2_class(lower(letter)) || ']';
                    WHEN letter = 'A' THEN atom := '(?:\A)';
                    WHEN letter = 'z' THEN atom := '(?:\Z)';
                    WHEN letter = 'b' THEN atom := format('(?:(?<=%1$s)(?!%1$s)|(?<!%1$s)(?=%1$s))', word);
                    WHEN letter = 'B' THEN atom := format('(?:(?<=%1$s)(?=%1$s)|(?<!%1$s)(?!%1$s))', word);
                    WHEN letter = 'C' THEN PERFORM sys.unsupported_pattern('a single byte (\C)');
                    WHEN letter ~ '[pP]' THEN PERFORM sys.unsupported_pattern('a Unicode class (\p)');
                    ELSE
                        SELECT sys.are_character(e.code, false), e.ends INTO atom, at FROM sys.re2_escape(pattern, at - 1) AS e;
                END CASE;
            ELSE
                atom := sys.are_character(ascii(letter), false);
                at := at + 1;
        END CASE;
        result := result || atom;
        repeatable := true;
        repeated := false;
        last_repetition := '';
    END LOOP;
    IF cardinality(outer_modes) > 0 THEN
        PERFORM sys.throw(19308, format('Missing '')'' in the Pattern %s.', pattern));
    END IF;
    RETURN '***:' || CASE WHEN folded THEN '(?i)' ELSE '' END || result;
END $$;

-- A pattern is looked at only where there is a text to match: NULL is not matched against a bad pattern.
CREATE FUNCTION sys.regexp_like(value text, pattern text, flags text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 1000 AS $$
BEGIN
    IF length(flags) > 30 THEN
        PERFORM sys.throw(19302, format('Maximum of ''30'' flags can be provided. But you provided ''%s'' flags.', length(flags)));
    END IF;
    IF flags ~ '[^cism]' THEN
        PERFORM sys.throw(19303, format('Invalid flag provided. ''%s'' are not valid flags. Only {c,i,s,m} flags are valid.', flags));
    END IF;
    IF length(value) > 1048576 THEN PERFORM sys.unsupported_pattern('more than 2 MB of text'); END IF;
    -- Upper and lower case by Unicode, whatever the server's locale is.
    RETURN value COLLATE "pg_c_utf8" ~ sys.re2_to_are(pattern, flags);
END $$;
