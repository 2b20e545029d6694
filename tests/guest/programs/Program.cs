// Programs that tests run in their guests beside the command line; the first word says which:
//
//   ublk        a server that obeys lines of standard input (ublk/Server.cs)
//   vdpa        verified I/O on a vhost-vdpa device, and a search for leaks (vdpa/VdpaProgram.cs)
//   coherence   writes through each door of a volume and reads through the others (coherence/CoherenceProgram.cs)
//   kills       kills a daemon whose doors are all loaded (kills/KillsProgram.cs)
//   restarts    has it succeeded instead
//   pattern     writes a pattern through a door of a volume, or reads it back (pattern/PatternProgram.cs)

using Polyblk.GuestPrograms.Coherence;
using Polyblk.GuestPrograms.Kills;
using Polyblk.GuestPrograms.Pattern;
using Polyblk.GuestPrograms.Ublk;
using Polyblk.GuestPrograms.Vdpa;

switch (args)
{
    case ["ublk"]:
        return await new Server().RunAsync();
    case ["vdpa", .. string[] rest]:
        return await VdpaProgram.RunAsync(rest);
    case ["coherence", .. string[] rest]:
        return CoherenceProgram.Run(rest);
    case ["kills", .. string[] rest]:
        return KillsProgram.Run(rest);
    case ["restarts", .. string[] rest]:
        return KillsProgram.Run(rest, ["polyblk", "daemon", "restart"]);
    case ["pattern", .. string[] rest]:
        return PatternProgram.Run(rest);
    default:
        Console.Error.WriteLine("usage: ublk | vdpa ... | coherence ... | kills ... | restarts ... | pattern ...");
        return 2;
}
