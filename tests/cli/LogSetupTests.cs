using Polyblk.Cli.Output;
using Polyblk.Host.State;
using Serilog.Events;

namespace Polyblk.Cli.Tests;

public sealed class LogSetupTests
{
    [Fact]
    public void WhatOthersChoseStaysOnItsLineOfTheLog()
    {
        string state = Directory.CreateTempSubdirectory("pbl").FullName;
        try
        {
            var directories = new StateDirectories(state, state);
            using (var log = LogSetup.Create(directories, "v", LogEventLevel.Fatal, verbose: false))
            {
                log.Fatal("A client calls itself {Name} and says {Number}", "x\n12:00:00 ERR all is lost \u001b[2J", 7);
            }

            string line = Assert.Single(File.ReadAllLines(Path.Combine(directories.Logs, "v.log")));
            const string end = @"A client calls itself x\n12:00:00 ERR all is lost \x1b[2J and says 7";
            Assert.EndsWith(end, line, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(state, recursive: true);
        }
    }
}
