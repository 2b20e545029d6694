using System.CommandLine;

namespace Polyblk.Cli.CommandLine;

/// <summary>A command of the program, made by dependency injection and put below the root.</summary>
internal interface ICliCommand
{
    /// <summary>Makes the command with its options and its action.</summary>
    Command Build();
}
