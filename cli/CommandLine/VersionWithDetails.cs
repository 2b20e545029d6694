// polyblk --version; with --verbose also what the program was made for and what it found: which parity kernels it will use, which
// is otherwise only seen in how fast it is.

using System.CommandLine;
using System.CommandLine.Invocation;
using System.Runtime.InteropServices;
using Polyblk.Host;
using Polyblk.Machine;
using Polyblk.Raid.Parity;
using System.Runtime.Intrinsics.X86;

namespace Polyblk.Cli.CommandLine;

/// <summary>The version, and with <c>--verbose</c> how the program runs.</summary>
internal sealed class VersionWithDetails : SynchronousCommandLineAction
{
    public override bool ClearsParseErrors => true;

    public override int Invoke(ParseResult parseResult)
    {
        TextWriter output = parseResult.InvocationConfiguration.Output;
        output.WriteLine(ProgramVersion.Text);
        if (parseResult.GetValue(CommandSettings.Verbose))
        {
            // What the framework says of it, RuntimeFeature, is a setting that both have alike.
            bool isNative = NativeProgram.IsIn(AppContext.BaseDirectory);
            output.WriteLine($"program: {(isNative ? $"native, for {Level()}" : $"on the .NET runtime, {Level()}")}, {RuntimeInformation.FrameworkDescription}");
            output.WriteLine($"parity kernels: {string.Join(", ", ParityKernels.Available().Select(kernels => kernels.Name))}");
        }

        return ExitCode.Ok;
    }

    /// <summary>
    /// The level of the x86-64 psABI of which this program uses everything. In a native one these are constants of its build.
    /// </summary>
    private static string Level() =>
        Avx512BW.IsSupported ? "x86-64-v4"
        : Avx2.IsSupported ? "x86-64-v3"
        : X86Base.IsSupported ? "x86-64-v2"
        : RuntimeInformation.ProcessArchitecture.ToString();
}
