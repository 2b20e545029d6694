# Sourced by ./polyblk and ./test: the check that a usable .NET SDK is there, and how they build.
# The caller sets $root (the repository's folder).

export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
# Build servers that outlive the build would keep memory and hold files of a tree that may go away.
export MSBUILDDISABLENODEREUSE=1 DOTNET_CLI_USE_MSBUILD_SERVER=0

# Ends the program with a message unless `dotnet` is an SDK that global.json accepts.
require_dotnet_sdk() {
  local have
  if ! command -v dotnet >/dev/null; then
    echo "$1: no 'dotnet' found. Install the .NET 10 SDK (package dotnet-sdk-10.0, or the dotnet-install script) and put it on PATH." >&2
    exit 127
  fi
  if ! have=$(cd "$root" && dotnet --version 2>/dev/null); then
    echo "$1: no installed .NET SDK is recent enough. This needs 10.0.100 or later 10.0; installed:" >&2
    dotnet --list-sdks >&2
    exit 1
  fi
  if [ "${have%%.*}" -lt 10 ]; then
    echo "$1: the .NET SDK is $have; this needs 10.0.100 or later." >&2
    exit 1
  fi
}

# end_compiler NAME: ends the compiler process that builds with this name (-p:SharedCompilationId) have shared.
end_compiler() {
  local process
  # (grep may find itself, and has ended by then.)
  for process in $(grep -lszxF -- "-pipename:$1" /proc/[0-9]*/cmdline); do
    kill "${process//[!0-9]/}" 2>/dev/null || true
  done
}

# dotnet_build ARGUMENT...: builds (Release) with one compiler process for all projects, which halves the time, whatever the environment says of such
# servers: it is this build's own, and ends with it.
dotnet_build() {
  local server=polyblk-$$ status=0
  dotnet build "$@" -c Release --nologo -v quiet -p:UseSharedCompilation=true -p:SharedCompilationId="$server" || status=$?
  end_compiler "$server"
  return $status
}
