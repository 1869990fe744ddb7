-- Takes back nothing; see the step up.
select 1;
