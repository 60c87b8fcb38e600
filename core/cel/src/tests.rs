//! Expressions, what they yield, what they cost, and how they fail.

use serde_json::{Value as Json, json};

use super::*;

fn env() -> Env {
    let schema = json!({"type": "object", "properties": {
        "x": {"type": "integer"}, "y": {"type": "number"}, "name": {"type": "string"},
        "list": {"type": "array", "items": {"type": "integer"}},
        "largeArray": {"type": "array", "maxItems": 725, "items": {"type": "integer"}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "when": {"type": "string", "format": "date-time"},
        "port": {"x-kubernetes-int-or-string": true},
        "a-b": {"type": "string"}, "namespace": {"type": "string"},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
    }});
    Env::new().variable("self", schema::decl(&schema, false).unwrap()).typed("any", Type::Dyn)
}

fn object() -> Variables {
    let fields = ["x", "y", "name", "list", "labels", "when", "port", "a-b", "namespace", "set"];
    let kinds = ["integer", "number", "string", "", "", "", "", "string", "string", ""];
    let mut schema = json!({"type": "object", "properties": {}});
    for (field, kind) in fields.iter().zip(kinds) {
        schema["properties"][field] = json!({"type": kind});
    }
    schema["properties"]["when"] = json!({"type": "string", "format": "date-time"});
    schema["properties"]["list"] = json!({"type": "array", "items": {"type": "integer"}});
    let text = json!({"type": "string"});
    schema["properties"]["labels"] = json!({"type": "object", "additionalProperties": text});
    schema["properties"]["set"] =
        json!({"type": "array", "x-kubernetes-list-type": "set", "items": text});
    schema["properties"]["port"] = json!({"x-kubernetes-int-or-string": true});
    let obj = json!({"x": 3, "y": 2, "name": "gro\u{df}", "list": [3, 1, 2], "labels": {"a": "b"},
        "when": "2026-01-02T03:04:05Z", "port": "http", "a-b": "dash", "namespace": "n",
        "set": ["a", "b"]});
    Variables::new()
        .with("self", schema::value(&obj, &schema))
        .with("any", Value::from_object(&json!({"a": [1, {"b": 2.5}], "spec": {"n": null}})))
}

fn run(source: &str) -> Evaluated {
    let program = Program::compile(source, &env()).unwrap_or_else(|error| panic!("{error}"));
    program.evaluate(&object(), &mut Meter::new(CALL_LIMIT))
}

#[test]
fn expressions_that_are_true() {
    let sources = [
        "self.x + 1 == 4 && self.y == 2.0 && self.x * 2 - 7 / 2 % 2 == 5",
        "self.x > 2u && 1 < 1.5 && dyn(3u) == 3 && dyn(self.x) != 4u",
        "size(self.name) == 4 && self.name.size() == 4 && self.name.startsWith('gr')",
        "self.list.all(i, i > 0) && self.list.exists(i, i == 2) && self.list.exists_one(i, i == 1)",
        "self.list.map(i, i * 2) == [6, 2, 4] && self.list.map(i, i > 1, i) == [3, 2]",
        "self.list.filter(i, i > 1).size() == 2 && !self.list.isSorted() && self.list.sum() == 6",
        "self.list.min() == 1 && self.list.max() == 3 && self.list.indexOf(2) == 2",
        "self.list.sort() == [1, 2, 3] && self.list.sortBy(i, -i) == [3, 2, 1]",
        "[[1], [2, 3]].flatten() == [1, 2, 3] && [1, 1, 2].distinct() == [1, 2]",
        "lists.range(3) == [0, 1, 2] && [1, 2, 3].slice(1, 3) == [2, 3] && [1, 2].reverse() == [2, 1]",
        "'a' in self.labels && self.labels.a == 'b' && self.labels['a'] == 'b' && !('c' in self.labels)",
        "self.labels.all(k, k == 'a') && self.labels.all(k, v, k + v == 'ab')",
        "self.list.transformList(i, v, i == 0, v) == [3] && self.list.transformMap(i, v, v)[1] == 1",
        "has(self.x) && !has(self.labels.zzz) && has(any.a) && !has(any.b)",
        "self.a__dash__b == 'dash' && self.__namespace__ == 'n'",
        "self.when < timestamp('2027-01-01T00:00:00Z') && self.when.getFullYear() == 2026",
        "self.when.getHours('+02:00') == 5 && self.when.getDayOfWeek() == 5 && self.when.getMonth() == 0",
        "duration('1h30m').getMinutes() == 90 && duration('90s') + duration('1m') == duration('2m30s')",
        "self.when + duration('1h') > self.when && string(duration('1.5s')) == '1.5s'",
        "self.port == 'http' && type(self.port) == string && type(1) == int",
        "self.x == 3 || 1 / 0 == 1",
        "(1 / 0 == 1 || true) && [0, 1].exists(i, 1 / i == 1) && ![1, 0].all(i, 1 / i != 1)",
        "'abc'.substring(1) == 'bc' && 'abc'.charAt(1) == 'b' && 'abcb'.lastIndexOf('b') == 3",
        "'a,b'.split(',') == ['a', 'b'] && ['a', 'b'].join('-') == 'a-b' && ' x '.trim() == 'x'",
        "'aXbX'.replace('X', 'y', 1) == 'aybX' && 'Ab'.lowerAscii() == 'ab' && 'Ab'.upperAscii() == 'AB'",
        "'abc123'.matches('^[a-z]+[0-9]+$') && 'abc 123'.find('[0-9]+') == '123'",
        "'123 abc 456'.findAll('[0-9]+') == ['123', '456'] && 'abcd'.contains('bc')",
        "'%s is %d, %.2f, %x'.format([dyn('a'), 3, 1.5, 255]) == 'a is 3, 1.50, ff'",
        "strings.quote('a\"b') == '\"a\\\\\"b\"'",
        "quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('100m').add(quantity('1')).compareTo(quantity('1.1')) == 0",
        "isQuantity('5Mi') && !isQuantity('x') && quantity('50k') == quantity('50000')",
        "ip('::1').isLoopback() && ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.1.1')",
        "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && isIP('1.2.3.4') && !isCIDR('1.2.3.4')",
        "url('https://a.b:80/p?x=1&x=2').getHostname() == 'a.b' && url('https://h/p?x=1').getQuery()['x'] == ['1']",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('v1.2', true).minor() == 2 && isSemver('1.0.0-rc.1')",
        "!format.dns1123Label().validate('ok').hasValue() && format.named('uuid').hasValue()",
        "sets.contains([1, 2, 3], [2, 3]) && sets.equivalent([1, 2], [2, 1]) && !sets.intersects([1], [2])",
        "any.?b.orValue('none') == 'none' && any.?a[?0].value() == 1 && any[?'zz'] == optional.none()",
        "optional.of(3).optMap(v, v + 1).value() == 4 && [?optional.none(), 1] == [1]",
        "{'a': 1, ?'b': optional.none()} == {'a': 1} && {'a': 1}.a == 1",
        "any.a[1].b == 2.5 && any.spec.n == null && dyn(1) == 1.0",
        "self.set == ['b', 'a'] && self.set + ['a', 'c'] == ['a', 'b', 'c']",
        "b'abc' == bytes('abc') && string(b'abc') == 'abc' && int('42') == 42 && double('1.5') == 1.5",
        "string(1.0) == '1' && string(1e21) == '1e+21' && bool('true') && uint(3) == 3u",
        "(self.x > 2 ? 'big' : 'small') == 'big' && !(self.x in [1, 2])",
        "!!true && --3 == 3 && -(-3) == 3",
    ];
    for source in sources {
        assert!(matches!(run(source), Ok(Value::Bool(true))), "{source}: {:?}", run(source));
    }
}

#[test]
fn what_goes_wrong_at_run_time_is_told_in_upstreams_words() {
    let cases = [
        ("any.zzz == 1", "no such key: zzz"),
        ("self.labels.none == ''", "no such key: none"),
        ("self.list[7] == 1", "index out of bounds: 7"),
        ("1 / 0 == 1", "division by zero"),
        ("1 % 0 == 1", "modulus by zero"),
        ("9223372036854775807 + 1 == 0", "integer overflow"),
        ("0u - 1u == 0u", "unsigned integer overflow"),
        ("any.a + 1 == 2", "no such overload"),
        ("'abc'.substring(2, 1) == ''", "invalid substring range. start: 2, end: 1"),
        ("optional.none().value() == 1", "optional.none() dereference"),
        ("[].min() == 1", "min called on empty list"),
    ];
    for (source, message) in cases {
        assert_eq!(run(source).unwrap_err().to_string(), message, "{source}");
    }
}

#[test]
fn what_does_not_compile_is_told_in_upstreams_words() {
    let cases = [
        ("self.z == 100", "undefined field 'z'\n | self.z == 100\n | ....^"),
        ("foo == 1", "undeclared reference to 'foo' (in container '')\n | foo == 1\n | ^"),
        ("self.x == 'a'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.name.foo()", "undeclared reference to 'foo' (in container '')"),
        (
            "self.name.isSorted()",
            "found no matching overload for 'isSorted' applied to 'string.()'",
        ),
        ("self.x && true", "expected type 'bool' but found 'int'"),
        ("[1, 'a'].size() == 2", "expected type 'int' but found 'string'"),
        ("self.x.y == 1", "type 'int' does not support field selection"),
        ("self.x.all(i, true)", "expression of type 'int' cannot be range of a comprehension"),
        ("self.name.matches('[')", "invalid matches argument"),
        ("self.name == null", "found no matching overload for '_==_' applied to '(string, null)'"),
        ("cel.bind(a, 1, a)", "undeclared reference to"),
    ];
    for (source, message) in cases {
        let error = Program::compile(source, &env()).unwrap_err().to_string();
        assert!(error.contains(message), "{source}: {error}");
    }
    let types = [("self.x", Type::Int), ("self.list", Type::list(Type::Int)), ("any", Type::Dyn)];
    for (source, ty) in types {
        assert_eq!(Program::compile(source, &env()).unwrap().result_type(), &ty);
    }
}

#[test]
fn estimates_are_upstreams() {
    let cost = |source: &str| Program::compile(source, &env()).unwrap().estimate().max;
    let loops = "self.largeArray.all(x, self.largeArray.all(y, y == x))";
    let cases = [
        ("true", 0),
        ("self.x == 1", 2),
        ("self.x + 1 == 2", 4),
        ("self.name == 'abc'", 3),
        (loops, 2_632_478),
        ("self.name.contains('abcdefghijkl')", 2 + 314_573 * 2),
        ("self.list.all(i, i > 0)", 2 + 1 + 1_572_863 * 5),
        ("has(self.x)", 1),
    ];
    for (source, expected) in cases {
        assert_eq!(cost(source), expected, "{source}");
    }
}

#[test]
fn costs_are_upstreams() {
    let cost = |source: &str| {
        let program = Program::compile(source, &env()).unwrap();
        let mut meter = Meter::new(CALL_LIMIT);
        program.evaluate(&object(), &mut meter).unwrap();
        meter.cost()
    };
    let cases = [
        ("true", 0),
        ("self.x == 3", 3),
        ("self.x > 4 && self.x > 5", 3),
        ("self.list.all(i, i > 0)", 2 + 3 * (2 + 1 + 2) + 1),
        ("has(self.x)", 1),
        ("'abc'.contains('b')", 1),
    ];
    for (source, expected) in cases {
        assert_eq!(cost(source), expected, "{source}");
    }
}

#[test]
fn hostile_expressions_end_soon() {
    let numbers: Vec<Json> = (0..20_000).map(Json::from).collect();
    let variables = Variables::new().with("self", Value::from_json(&json!({ "list": numbers })));
    let env = Env::new().typed("self", Type::map(Type::Dyn));
    let sources = [
        "self.list.all(x, self.list.all(y, x + y >= 0))",
        "self.list.map(x, self.list + self.list).size() > 0",
        "self.list.map(x, 'aaaaaaaaaaaaaaaaaaaaaaaa' + string(x)).map(x, x + x + x + x).join('').size() > 0",
        "self.list.all(x, string(x).matches('(a{1,99}){1,99}' + string(x)) || true)",
        "self.list.all(x, self.list == self.list)",
        "self.list.all(x, sets.contains(self.list, self.list))",
        "self.list.map(x, lists.range(100000000)).size() > 0",
    ];
    for source in sources {
        let program = Program::compile(source, &env).unwrap();
        let result = program.evaluate(&variables, &mut Meter::new(CALL_LIMIT));
        assert_eq!(result.unwrap_err(), EvalError::CostExceeded, "{source}");
    }
}

#[test]
fn struct_literals_make_objects() {
    let env = Env::new().typed("object", Type::Dyn).mutations();
    let source = "Object{spec: Object.spec{a__dash__b: 1, ?none: optional.none()}}";
    let program = Program::compile(source, &env).unwrap();
    let value = program.evaluate(&Variables::new(), &mut Meter::new(CALL_LIMIT)).unwrap();
    assert_eq!(value.to_json().unwrap(), json!({"spec": {"a-b": 1}}));
    let patch = "[JSONPatch{op: 'add', path: '/a/' + jsonpatch.escapeKey('b/c'), value: 1}]";
    let program = Program::compile(patch, &env).unwrap();
    let value = program.evaluate(&Variables::new(), &mut Meter::new(CALL_LIMIT)).unwrap();
    assert_eq!(value.to_json().unwrap()[0]["path"], "/a/b~1c");
    assert!(Program::compile("Other{a: 1}", &env).is_err());
}

const WORDS: &str = r#"self any . x list ( ) [ ] { } ? : , + - * / % ! && || == < >= in true null 1 2u
    1.5 'a' b'\xff' all map exists_one has optMap sortBy transformMap size dyn type format matches
    substring duration timestamp '1h' $ ß 9223372036854775807 -9223372036854775808 cidr quantity
    '\ """ //"#;

#[test]
fn no_text_makes_it_panic() {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below
    };
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let (env, variables) = (env(), object());
    for _ in 0..20_000 {
        let length = 1 + random(12);
        let source: String = (0..length).map(|_| words[random(words.len())]).collect();
        if let Ok(program) = Program::compile(&source, &env) {
            let _ = program.evaluate(&variables, &mut Meter::new(10_000));
        }
    }
}
