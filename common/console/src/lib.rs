//! The command language and the reports that kvctl and kvshell share.
