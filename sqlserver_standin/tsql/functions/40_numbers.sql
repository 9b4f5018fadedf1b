-- Numbers.

-- Decimal division keeps `scale` digits and cuts the rest off.
CREATE FUNCTION sys.divide(dividend numeric, divisor numeric, scale int) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN trunc(round(dividend, scale + 2) / divisor, scale);

CREATE FUNCTION sys.round_to(value numeric, digits int, truncate boolean) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN truncate THEN trunc(value, digits) ELSE round(value, digits) END;

CREATE FUNCTION sys.round_to(value float8, digits int, truncate boolean) RETURNS float8
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN truncate THEN trunc(value::text::numeric, digits) ELSE round(value::text::numeric, digits) END::float8;

CREATE FUNCTION sys.invalid_float() RETURNS float8
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sys.throw(3623, 'An invalid floating point operation occurred.');
    RETURN NULL;
END $$;

CREATE FUNCTION sys.checked_float(function text, value float8) RETURNS float8
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    CASE function
        WHEN 'sqrt' THEN IF value >= 0 THEN RETURN sqrt(value); END IF;
        WHEN 'log' THEN IF value > 0 THEN RETURN ln(value); END IF;
        WHEN 'log10' THEN IF value > 0 THEN RETURN log(value); END IF;
        WHEN 'acos' THEN IF abs(value) <= 1 THEN RETURN acos(value); END IF;
        WHEN 'asin' THEN IF abs(value) <= 1 THEN RETURN asin(value); END IF;
    END CASE;
    RETURN sys.invalid_float();
END $$;

CREATE FUNCTION sys.log_of(value float8, base float8) RETURNS float8
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF value <= 0 OR base <= 0 OR base = 1 THEN RETURN sys.invalid_float(); END IF;
    RETURN ln(value) / ln(base);
END $$;

CREATE FUNCTION sys.power_of(base float8, exponent float8) RETURNS float8
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF (base < 0 AND exponent <> trunc(exponent)) THEN RETURN sys.invalid_float(); END IF;
    IF base = 0 AND exponent < 0 THEN PERFORM sys.throw(8134, 'Divide by zero error encountered.'); END IF;
    RETURN power(base, exponent);
END $$;

CREATE FUNCTION sys.power_of(base numeric, exponent numeric, scale int) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF base < 0 AND exponent <> trunc(exponent) THEN PERFORM sys.invalid_float(); END IF;
    IF base = 0 AND exponent < 0 THEN PERFORM sys.throw(8134, 'Divide by zero error encountered.'); END IF;
    IF scale = 0 THEN RETURN trunc(round(power(base, exponent), 10)); END IF;
    RETURN round(power(base, exponent), scale);
END $$;

CREATE FUNCTION sys.seeded_random(seed int) RETURNS float8
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
-- SQL Server's generator is not documented; equal seeds give equal numbers in [0, 1) all the same.
RETURN ((hashint4(seed)::bigint & 2147483647) / 2147483648.0)::float8;

CREATE FUNCTION sys.shift(value bigint, amount int, bits int) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    modulus numeric := 2::numeric ^ bits;
    number numeric := CASE WHEN value < 0 THEN value + modulus ELSE value END;
BEGIN
    IF abs(amount) >= bits THEN RETURN 0; END IF;
    number := CASE WHEN amount >= 0 THEN (number * 2::numeric ^ amount) % modulus ELSE div(number, 2::numeric ^ (-amount)) END;
    IF bits > 8 AND number >= modulus / 2 THEN number := number - modulus; END IF;
    RETURN number::bigint;
END $$;
