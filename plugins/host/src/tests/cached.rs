//! The cache of compiled code: used when it verifies, and only then.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::cache::{Cache, CacheMiss};
use crate::engine::Runner;
use crate::loader::compile;

use super::*;

struct Cached {
    dir: tempfile::TempDir,
    runner: Runner,
    digest: String,
    file: std::path::PathBuf,
}

/// A cache that holds one compiled guest.
fn cached() -> Cached {
    let dir = tempfile::tempdir().unwrap();
    let runner = Runner::new().unwrap();
    let cache = Cache::open(&dir.path().join("aot")).unwrap();
    let bytes = guest("federation-trapping");
    let digest = digest_of(&bytes);
    compile(&runner.engine, Some(&cache), &bytes, &digest).unwrap();
    let file = cache.path(&runner.engine, &digest);
    Cached { dir, runner, digest, file }
}

impl Cached {
    fn load(&self) -> Result<(), CacheMiss> {
        let cache = Cache::open(&self.dir.path().join("aot")).unwrap();
        cache.load(&self.runner.engine, &self.digest).map(drop)
    }
}

#[test]
fn the_next_process_uses_what_this_one_compiled() {
    let cached = cached();
    assert_eq!(cached.load(), Ok(()));
    let dir = cached.dir.path().join("aot");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&dir.join("key")), mode(&cached.file)), (0o700, 0o600, 0o600));
}

#[test]
fn one_flipped_bit_is_noticed_wherever_it_is() {
    let cached = cached();
    let good = fs::read(&cached.file).unwrap();
    for at in [0, 31, 32, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&cached.file, bad).unwrap();
        assert_eq!(cached.load(), Err(CacheMiss::Forged), "byte {at}");
    }
    fs::write(&cached.file, &good[..10]).unwrap();
    assert_eq!(cached.load(), Err(CacheMiss::Forged));
}

#[test]
fn code_of_another_key_or_another_component_is_not_taken() {
    let (ours, theirs) = (cached(), cached());
    fs::copy(&theirs.file, &ours.file).unwrap();
    assert_eq!(ours.load(), Err(CacheMiss::Forged));
    let other = Cached { digest: digest_of(b"another component"), ..theirs };
    let cache = Cache::open(&other.dir.path().join("aot")).unwrap();
    let name = cache.path(&other.runner.engine, &other.digest);
    fs::copy(&other.file, name).unwrap();
    assert_eq!(other.load(), Err(CacheMiss::Forged));
}

#[tokio::test]
async fn a_forged_file_is_compiled_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = HostConfig { cache_dir: Some(dir.path().join("aot")) };
    let load = || async {
        let host = Host::new(&config).unwrap();
        let request = request("p", World::Federation, "federation-trapping", Value::Null);
        host.load(request).await.unwrap();
    };
    load().await;
    let files = || fs::read_dir(dir.path().join("aot")).unwrap().flatten();
    let code = files().find(|f| f.path().extension().is_some_and(|e| e == "cwasm")).unwrap();
    let good = fs::read(code.path()).unwrap();
    fs::write(code.path(), b"nonsense").unwrap();
    load().await;
    assert_eq!(fs::read(code.path()).unwrap().len(), good.len());
}
