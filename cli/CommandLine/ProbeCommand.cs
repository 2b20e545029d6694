using System.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Frontends;
using Polyblk.Host;
using Polyblk.Host.Model;

namespace Polyblk.Cli.CommandLine;

/// <summary><c>polyblk probe</c>: what each frontend says about this host.</summary>
internal sealed class ProbeCommand(IEnumerable<IFrontend> frontends) : ICliCommand
{
    private readonly Option<bool> _json = CommandSettings.Json();

    public Command Build()
    {
        var command = new Command("probe", "Show by which frontends this host can serve, and what would make the others available.");
        command.Options.Add(_json);
        command.SetAction(Run);
        return command;
    }

    private int Run(ParseResult parsed)
    {
        Terminal terminal = CommandSettings.Terminal(parsed);
        IReadOnlyList<ProbeJson> probes = [.. frontends.Select(Probe)];
        if (parsed.GetValue(_json))
        {
            terminal.WriteJson(probes, OutputJson.Default.IReadOnlyListProbeJson);
            return ExitCode.Ok;
        }

        var table = new TextTable("FRONTEND", "AVAILABLE", "WHAT WAS FOUND");
        foreach (ProbeJson probe in probes)
        {
            table.AddRow(probe.Frontend, probe.Available ? "yes" : "no", probe.Summary);
        }

        table.Write(terminal);
        foreach (ProbeJson probe in probes.Where(p => p.Remedies.Count > 0))
        {
            terminal.WriteLine();
            terminal.WriteLine($"{probe.Frontend} would be {(probe.Available ? "better" : "available")} with:");
            foreach (string remedy in probe.Remedies)
            {
                terminal.WriteLine($"  {remedy}");
            }
        }

        return ExitCode.Ok;
    }

    private static ProbeJson Probe(IFrontend frontend)
    {
        FrontendProbe probe = frontend.Probe();
        return new ProbeJson(frontend.Name, frontend.Description, probe.Available, probe.Summary, probe.Remedies, probe.Facts);
    }
}
