// The tests' own entry point, and that of tests/simulation/soak: one program, with the same runtime and settings.

using Polyblk.Simulation.Tests.Soak;
using Xunit.Runner.InProc.SystemConsole;

return args switch
{
    ["soak", .. string[] rest] => Soaking.Run(rest),
    ["soak-job", .. string[] rest] => SoakJob.Run(rest),
    _ => await ConsoleRunner.Run(args),
};
