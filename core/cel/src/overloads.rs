//! The signatures of every function, as data: `name receiver(arguments) result`.
//!
//! A dash for the receiver is a plain function. `A`, `B` and `K` stand for any type, the same one
//! wherever the letter appears in a line. An overload's id, where cost depends on it, follows `=`.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::types::Type;

/// One way to call a function.
#[derive(Debug)]
pub(crate) struct Overload {
    pub(crate) id: &'static str,
    pub(crate) member: bool,
    /// The receiver first, if it is a member.
    pub(crate) args: Vec<Type>,
    pub(crate) result: Type,
    /// How many different letters stand in it.
    pub(crate) params: usize,
}

static TABLE: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let mut table: HashMap<_, Vec<Overload>> = HashMap::new();
    for line in SIGNATURES.lines().filter(|line| !line.trim().is_empty()) {
        let (name, overload) = read(line.trim());
        table.entry(name).or_default().push(overload);
    }
    table
});

/// Every way to call a function, none if it is not known.
pub(crate) fn of(name: &str) -> &'static [Overload] {
    TABLE.get(name).map_or(&[], Vec::as_slice)
}

fn read(line: &'static str) -> (&'static str, Overload) {
    let (signature, id) = line.split_once(" = ").unwrap_or((line, ""));
    let mut words = signature.splitn(3, ' ');
    let mut next = || words.next().expect("a signature has a name, a receiver and a result");
    let (name, receiver, rest) = (next(), next(), next());
    let (args, result) = rest.rsplit_once(") ").expect("arguments end in a bracket");
    let mut types = Vec::new();
    if receiver != "-" {
        types.push(parse_type(receiver));
    }
    let args = args.strip_prefix('(').expect("arguments start with a bracket");
    types.extend(split(args).into_iter().map(parse_type));
    let result = parse_type(result);
    let params = types.iter().chain([&result]).map(highest_param).max().unwrap_or(0);
    (name, Overload { id, member: receiver != "-", args: types, result, params })
}

fn highest_param(ty: &Type) -> usize {
    match ty {
        Type::Param(at) => at + 1,
        Type::List(of) | Type::Optional(of) | Type::TypeOf(of) => highest_param(of),
        Type::Map(key, value) => highest_param(key).max(highest_param(value)),
        _ => 0,
    }
}

/// Splits at the commas that are in no bracket.
fn split(list: &'static str) -> Vec<&'static str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, letter) in list.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

fn parse_type(text: &'static str) -> Type {
    let inside = |name: &str| text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
    if let Some(of) = inside("list") {
        return Type::list(parse_type(of));
    }
    if let Some(of) = inside("optional") {
        return Type::Optional(Box::new(parse_type(of)));
    }
    if let Some(of) = inside("type") {
        return Type::TypeOf(Box::new(parse_type(of)));
    }
    if let Some(of) = inside("map") {
        let parts = split(of);
        return Type::Map(Box::new(parse_type(parts[0])), Box::new(parse_type(parts[1])));
    }
    match text {
        "dyn" => Type::Dyn,
        "null" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "duration" => Type::Duration,
        "timestamp" => Type::Timestamp,
        "A" => Type::Param(0),
        "B" => Type::Param(1),
        opaque => Type::Opaque(opaque),
    }
}

const SIGNATURES: &str = r"
_?_:_ - (bool,A,A) A = conditional
_&&_ - (bool,bool) bool = logical_and
_||_ - (bool,bool) bool = logical_or
!_ - (bool) bool
@not_strictly_false - (bool) bool
_==_ - (A,A) bool = equals
_!=_ - (A,A) bool = not_equals
_<_ - (bool,bool) bool
_<_ - (int,int) bool
_<_ - (int,double) bool
_<_ - (int,uint) bool
_<_ - (uint,uint) bool
_<_ - (uint,double) bool
_<_ - (uint,int) bool
_<_ - (double,double) bool
_<_ - (double,int) bool
_<_ - (double,uint) bool
_<_ - (string,string) bool = order_text
_<_ - (bytes,bytes) bool = order_text
_<_ - (timestamp,timestamp) bool
_<_ - (duration,duration) bool
_<=_ - (bool,bool) bool
_<=_ - (int,int) bool
_<=_ - (int,double) bool
_<=_ - (int,uint) bool
_<=_ - (uint,uint) bool
_<=_ - (uint,double) bool
_<=_ - (uint,int) bool
_<=_ - (double,double) bool
_<=_ - (double,int) bool
_<=_ - (double,uint) bool
_<=_ - (string,string) bool = order_text
_<=_ - (bytes,bytes) bool = order_text
_<=_ - (timestamp,timestamp) bool
_<=_ - (duration,duration) bool
_>_ - (bool,bool) bool
_>_ - (int,int) bool
_>_ - (int,double) bool
_>_ - (int,uint) bool
_>_ - (uint,uint) bool
_>_ - (uint,double) bool
_>_ - (uint,int) bool
_>_ - (double,double) bool
_>_ - (double,int) bool
_>_ - (double,uint) bool
_>_ - (string,string) bool = order_text
_>_ - (bytes,bytes) bool = order_text
_>_ - (timestamp,timestamp) bool
_>_ - (duration,duration) bool
_>=_ - (bool,bool) bool
_>=_ - (int,int) bool
_>=_ - (int,double) bool
_>=_ - (int,uint) bool
_>=_ - (uint,uint) bool
_>=_ - (uint,double) bool
_>=_ - (uint,int) bool
_>=_ - (double,double) bool
_>=_ - (double,int) bool
_>=_ - (double,uint) bool
_>=_ - (string,string) bool = order_text
_>=_ - (bytes,bytes) bool = order_text
_>=_ - (timestamp,timestamp) bool
_>=_ - (duration,duration) bool
_+_ - (bytes,bytes) bytes = add_text
_+_ - (double,double) double
_+_ - (duration,duration) duration
_+_ - (duration,timestamp) timestamp
_+_ - (timestamp,duration) timestamp
_+_ - (int,int) int
_+_ - (list(A),list(A)) list(A) = add_list
_+_ - (string,string) string = add_text
_+_ - (uint,uint) uint
_-_ - (double,double) double
_-_ - (duration,duration) duration
_-_ - (int,int) int
_-_ - (timestamp,duration) timestamp
_-_ - (timestamp,timestamp) duration
_-_ - (uint,uint) uint
_*_ - (double,double) double
_*_ - (int,int) int
_*_ - (uint,uint) uint
_/_ - (double,double) double
_/_ - (int,int) int
_/_ - (uint,uint) uint
_%_ - (int,int) int
_%_ - (uint,uint) uint
-_ - (double) double
-_ - (int) int
@in - (A,list(A)) bool = in_list
@in - (A,map(A,B)) bool
_[_] - (list(A),int) A = index_list
_[_] - (map(A,B),A) B = index_map
_[_] - (optional(list(A)),int) optional(A)
_[_] - (optional(map(A,B)),A) optional(B)
_[?_] - (list(A),int) optional(A)
_[?_] - (map(A,B),A) optional(B)
_[?_] - (optional(list(A)),int) optional(A)
_[?_] - (optional(map(A,B)),A) optional(B)
cel.@mapInsert - (map(A,B),A,B) map(A,B)
cel.@mapInsert - (map(A,B),map(A,B)) map(A,B)
@sortByAssociatedKeys list(A) (list(B)) list(A)
size - (bytes) int
size - (list(A)) int
size - (map(A,B)) int
size - (string) int
size bytes () int
size list(A) () int
size map(A,B) () int
size string () int
type - (A) type(A)
dyn - (A) dyn
bool - (bool) bool
bool - (string) bool
bytes - (bytes) bytes
bytes - (string) bytes = string_to_bytes
double - (double) double
double - (int) double
double - (string) double
double - (uint) double
duration - (duration) duration
duration - (int) duration
duration - (string) duration
int - (int) int
int - (double) int
int - (duration) int
int - (string) int
int - (timestamp) int
int - (uint) int
string - (string) string
string - (bool) string
string - (bytes) string = bytes_to_string
string - (double) string
string - (duration) string
string - (int) string
string - (timestamp) string
string - (uint) string
timestamp - (timestamp) timestamp
timestamp - (int) timestamp
timestamp - (string) timestamp
uint - (uint) uint
uint - (double) uint
uint - (int) uint
uint - (string) uint
contains string (string) bool = contains_string
endsWith string (string) bool = ends_with_string
startsWith string (string) bool = starts_with_string
matches - (string,string) bool = matches_string
matches string (string) bool = matches_string
getDate timestamp () int
getDate timestamp (string) int
getDayOfMonth timestamp () int
getDayOfMonth timestamp (string) int
getDayOfWeek timestamp () int
getDayOfWeek timestamp (string) int
getDayOfYear timestamp () int
getDayOfYear timestamp (string) int
getFullYear timestamp () int
getFullYear timestamp (string) int
getHours timestamp () int
getHours timestamp (string) int
getHours duration () int
getMilliseconds timestamp () int
getMilliseconds timestamp (string) int
getMilliseconds duration () int
getMinutes timestamp () int
getMinutes timestamp (string) int
getMinutes duration () int
getMonth timestamp () int
getMonth timestamp (string) int
getSeconds timestamp () int
getSeconds timestamp (string) int
getSeconds duration () int
charAt string (int) string
indexOf string (string) int
indexOf string (string,int) int
lastIndexOf string (string) int
lastIndexOf string (string,int) int
join list(string) () string
join list(string) (string) string
lowerAscii string () string
upperAscii string () string
replace string (string,string) string
replace string (string,string,int) string
split string (string) list(string)
split string (string,int) list(string)
substring string (int) string
substring string (int,int) string
trim string () string
format string (list(dyn)) string = format_string
strings.quote - (string) string = quote_string
find string (string) string
findAll string (string) list(string)
findAll string (string,int) list(string)
isSorted list(int) () bool
isSorted list(uint) () bool
isSorted list(double) () bool
isSorted list(bool) () bool
isSorted list(duration) () bool
isSorted list(timestamp) () bool
isSorted list(string) () bool
isSorted list(bytes) () bool
sum list(int) () int
sum list(uint) () uint
sum list(double) () double
sum list(duration) () duration
min list(int) () int
min list(uint) () uint
min list(double) () double
min list(bool) () bool
min list(duration) () duration
min list(timestamp) () timestamp
min list(string) () string
min list(bytes) () bytes
max list(int) () int
max list(uint) () uint
max list(double) () double
max list(bool) () bool
max list(duration) () duration
max list(timestamp) () timestamp
max list(string) () string
max list(bytes) () bytes
indexOf list(A) (A) int
lastIndexOf list(A) (A) int
slice list(A) (int,int) list(A)
flatten list(list(A)) () list(A)
flatten list(dyn) (int) list(dyn)
sort list(A) () list(A)
distinct list(A) () list(A)
reverse list(A) () list(A)
lists.range - (int) list(int)
sets.contains - (list(A),list(A)) bool
sets.equivalent - (list(A),list(A)) bool
sets.intersects - (list(A),list(A)) bool
optional.of - (A) optional(A)
optional.ofNonZeroValue - (A) optional(A)
optional.none - () optional(A)
hasValue optional(A) () bool
value optional(A) () A
or optional(A) (optional(A)) optional(A)
orValue optional(A) (A) A
url - (string) kubernetes.URL
isURL - (string) bool
getScheme kubernetes.URL () string
getHost kubernetes.URL () string
getHostname kubernetes.URL () string
getPort kubernetes.URL () string
getEscapedPath kubernetes.URL () string
getQuery kubernetes.URL () map(string,list(string))
quantity - (string) kubernetes.Quantity
isQuantity - (string) bool
sign kubernetes.Quantity () int
asInteger kubernetes.Quantity () int
isInteger kubernetes.Quantity () bool
asApproximateFloat kubernetes.Quantity () double
isGreaterThan kubernetes.Quantity (kubernetes.Quantity) bool
isLessThan kubernetes.Quantity (kubernetes.Quantity) bool
compareTo kubernetes.Quantity (kubernetes.Quantity) int
add kubernetes.Quantity (kubernetes.Quantity) kubernetes.Quantity
add kubernetes.Quantity (int) kubernetes.Quantity
sub kubernetes.Quantity (kubernetes.Quantity) kubernetes.Quantity
sub kubernetes.Quantity (int) kubernetes.Quantity
semver - (string) kubernetes.Semver
semver - (string,bool) kubernetes.Semver
isSemver - (string) bool
isSemver - (string,bool) bool
isGreaterThan kubernetes.Semver (kubernetes.Semver) bool
isLessThan kubernetes.Semver (kubernetes.Semver) bool
compareTo kubernetes.Semver (kubernetes.Semver) int
major kubernetes.Semver () int
minor kubernetes.Semver () int
patch kubernetes.Semver () int
ip - (string) net.IP
isIP - (string) bool
ip.isCanonical - (string) bool
family net.IP () int
isUnspecified net.IP () bool
isLoopback net.IP () bool
isLinkLocalMulticast net.IP () bool
isLinkLocalUnicast net.IP () bool
isGlobalUnicast net.IP () bool
string - (net.IP) string
cidr - (string) net.CIDR
isCIDR - (string) bool
containsIP net.CIDR (string) bool = cidr_contains_ip_string
containsIP net.CIDR (net.IP) bool
containsCIDR net.CIDR (string) bool = cidr_contains_cidr_string
containsCIDR net.CIDR (net.CIDR) bool
ip net.CIDR () net.IP = cidr_ip
prefixLength net.CIDR () int
masked net.CIDR () net.CIDR
string - (net.CIDR) string
format.dns1123Label - () kubernetes.NamedFormat
format.dns1123Subdomain - () kubernetes.NamedFormat
format.dns1035Label - () kubernetes.NamedFormat
format.qualifiedName - () kubernetes.NamedFormat
format.dns1123LabelPrefix - () kubernetes.NamedFormat
format.dns1123SubdomainPrefix - () kubernetes.NamedFormat
format.dns1035LabelPrefix - () kubernetes.NamedFormat
format.labelValue - () kubernetes.NamedFormat
format.uri - () kubernetes.NamedFormat
format.uuid - () kubernetes.NamedFormat
format.byte - () kubernetes.NamedFormat
format.date - () kubernetes.NamedFormat
format.datetime - () kubernetes.NamedFormat
format.named - (string) optional(kubernetes.NamedFormat)
validate kubernetes.NamedFormat (string) optional(list(string))
path kubernetes.authorization.Authorizer (string) kubernetes.authorization.PathCheck
group kubernetes.authorization.Authorizer (string) kubernetes.authorization.GroupCheck
serviceAccount kubernetes.authorization.Authorizer (string,string) kubernetes.authorization.Authorizer
resource kubernetes.authorization.GroupCheck (string) kubernetes.authorization.ResourceCheck
subresource kubernetes.authorization.ResourceCheck (string) kubernetes.authorization.ResourceCheck
namespace kubernetes.authorization.ResourceCheck (string) kubernetes.authorization.ResourceCheck
name kubernetes.authorization.ResourceCheck (string) kubernetes.authorization.ResourceCheck
fieldSelector kubernetes.authorization.ResourceCheck (string) kubernetes.authorization.ResourceCheck
labelSelector kubernetes.authorization.ResourceCheck (string) kubernetes.authorization.ResourceCheck
check kubernetes.authorization.PathCheck (string) kubernetes.authorization.Decision
check kubernetes.authorization.ResourceCheck (string) kubernetes.authorization.Decision
errored kubernetes.authorization.Decision () bool
error kubernetes.authorization.Decision () string
allowed kubernetes.authorization.Decision () bool
reason kubernetes.authorization.Decision () string
jsonpatch.escapeKey - (string) string
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_reads() {
        assert!(of("_==_").len() == 1 && of("nothing").is_empty());
        let index = &of("_[_]")[1];
        assert_eq!((index.params, index.member, index.id), (2, false, "index_map"));
        assert_eq!(index.result, Type::Param(1));
        let matches = of("matches");
        assert!(!matches[0].member && matches[1].member && matches[1].args.len() == 2);
    }
}
