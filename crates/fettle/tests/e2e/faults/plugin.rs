//! The plugins that misbehave.

use std::io::{Cursor, Write as _};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::server::{KEY, Server};

/// Misbehaves row by row.
const FAULT: &str = include_str!("fault.py");

/// Plugins that never get as far as a row: name and module.
pub const STARTS: [(&str, &str); 5] = [
    ("lacks_module", "import surely_absent_module\n"),
    (
        "raises_at_start",
        "raise RuntimeError('the licence has ended')\n",
    ),
    ("exits_at_start", "import sys\nsys.exit(7)\n"),
    ("eats_at_start", "held = bytearray(8 << 30)\n"),
    ("grows_at_start", "held = b'x' * (300 << 20)\n"),
];

/// Knows only two modes, and nobody else knows which.
const PICKY: &str = "
def run(rows, parameters):
    mode = parameters['mode']
    if mode not in ('fast', 'exact'):
        raise ValueError(f'mode: {mode!r} is not one of fast, exact')
    return [{} for _ in rows]
";

/// What its manifest says of its parameters.
const PICKY_PARAMETERS: &str =
    "[parameters]\nrequired = [\"mode\"]\n[parameters.properties.mode]\ntype = \"string\"\n";

/// A program that asks for memory until it is refused, which it does not expect.
const GRABS: &str = include_str!("grabs.cc");

/// Registers all of them.
pub fn register_all(server: &Server) {
    register_python(server, "fault", FAULT, "");
    register_python(server, "picky", PICKY, PICKY_PARAMETERS);
    for (name, module) in STARTS {
        let module = format!("{module}\ndef run(rows):\n    return [{{}} for _ in rows]\n");
        register_python(server, name, &module, "");
    }
    let run =
        "cp grabs.bin \"$TMPDIR/grabs\" && chmod +x \"$TMPDIR/grabs\" && exec \"$TMPDIR/grabs\"";
    let manifest = "name = \"grabs\"\nversion = \"v1\"\nkind = \"exec\"\nentry = [\"sh\", \"run.sh\"]\n\
                    [[inputs]]\nkey = \"text\"\n";
    let files: [(&str, &[u8]); 3] = [
        ("fettle-plugin.toml", manifest.as_bytes()),
        ("run.sh", run.as_bytes()),
        ("grabs.bin", &compiled(server.data_dir())),
    ];
    register(server, "grabs", archive(&files));
}

fn compiled(dir: &Path) -> Vec<u8> {
    let (source, program) = (dir.join("grabs.cc"), dir.join("grabs.bin"));
    std::fs::write(&source, GRABS).unwrap();
    let mut compiler = Command::new("c++");
    let status = compiler
        .arg("-o")
        .args([&program, &source])
        .status()
        .unwrap();
    assert!(status.success(), "c++: {status}");
    std::fs::read(program).unwrap()
}

fn register_python(server: &Server, name: &str, module: &str, more: &str) {
    let manifest = format!(
        "name = \"{name}\"\nversion = \"v1\"\nkind = \"python\"\nentry = \"module:run\"\nbatch_rows = 1\n\
         [[inputs]]\nkey = \"text\"\n[[vectors]]\nname = \"{name}_v1\"\ndimensions = 2\n{more}"
    );
    let files: [(&str, &[u8]); 2] = [
        ("fettle-plugin.toml", manifest.as_bytes()),
        ("module.py", module.as_bytes()),
    ];
    register(server, name, archive(&files));
}

fn register(server: &Server, name: &str, archive: Vec<u8>) {
    let request = server.http.post(server.url("/v1/plugins")).bearer_auth(KEY);
    let answer = request
        .header("content-type", "application/zip")
        .body(archive)
        .send()
        .unwrap();
    let status = answer.status().as_u16();
    let answer: Value = answer.json().unwrap();
    assert!((200..300).contains(&status), "{name}: {status} {answer}");
}

/// A zip of these files.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}
