//! nginx as a plain proxy: it passes bytes on and understands none of them.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    thread,
};

use crate::Result;

/// nginx's program; `None` where it is not installed.
pub(crate) fn program() -> Option<&'static str> {
    // Debian puts it where only root's PATH looks.
    ["nginx", "/usr/sbin/nginx"].into_iter().find(|program| {
        let version = Command::new(program)
            .arg("-v")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        version.is_ok_and(|status| status.success())
    })
}

/// What starts nginx in the foreground, with its files under `directory`.
///
/// `is_alone` keeps it to one process, for tools that follow only one.
pub(crate) fn command(
    listen: SocketAddr,
    upstream: SocketAddr,
    directory: &Path,
    is_alone: bool,
) -> Result<Command> {
    let program = program().ok_or("nginx is not installed")?;
    let directory = directory.join("nginx");
    fs::create_dir_all(&directory)?;
    let path = directory.join("nginx.conf");
    let workers = thread::available_parallelism()?;
    let master = if is_alone { "off" } else { "on" };
    fs::write(
        &path,
        format!(
            "worker_processes {workers};\nmaster_process {master};\n{}",
            configuration(listen, upstream, &directory)
        ),
    )?;
    let mut command = Command::new(program);
    command.arg("-e").arg(directory.join("error.log"));
    command.arg("-p").arg(&directory).arg("-c").arg(path);
    Ok(command)
}

/// Nothing is buffered, logged or closed that would set it apart from the other servers.
fn configuration(listen: SocketAddr, upstream: SocketAddr, directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "daemon off;
pid {directory}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 1000000;
    upstream vllm {{
        server {upstream};
        keepalive 1024;
        keepalive_requests 1000000;
    }}
    server {{
        listen {listen} backlog=2048;
        location / {{
            proxy_pass http://vllm;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_buffering off;
            proxy_read_timeout 1h;
        }}
    }}
}}
"
    )
}
