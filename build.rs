//! Compiles `proto/` and `third_party/proto/` with protox, so that building needs no `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=third_party/proto");
    let mut sources = Vec::new();
    for entry in fs::read_dir("proto/vllm_adapter/v1")? {
        sources.push(entry?.path());
    }
    sources.sort();
    for source in [
        "grpc/health/v1/health.proto",
        "xds/data/orca/v3/orca_load_report.proto",
    ] {
        sources.push(PathBuf::from("third_party/proto").join(source));
    }

    let mut compiler = protox::Compiler::new(["proto", "third_party/proto"])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(&sources)?;

    #[expect(
        clippy::disallowed_methods,
        reason = "this is how cargo talks to a build script"
    )]
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Kept beside the code for server reflection.
    fs::write(
        out.join("descriptor_set.bin"),
        compiler.encode_file_descriptor_set(),
    )?;

    let mut config = prost_build::Config::new();
    // The codec knows a message by its name.
    config.enable_type_names();
    tonic_prost_build::configure()
        .bytes(".")
        .build_transport(false)
        .codec_path("crate::proto::codec::Codec")
        .compile_fds_with_config(compiler.file_descriptor_set(), config)?;
    Ok(())
}
